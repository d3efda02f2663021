"""Validation of conversations: every error names the place and the remedy.

Knows nothing of tokenizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cluster.errors import InvalidInput
from cluster.types import Message, TokenIds

INT32 = np.iinfo(np.int32)
BETWEEN_PARTS = "\n"
"""Between the text parts of a content, as in vLLM."""


class Reader:
    """Callers' conversations as messages, text or ids; a prompt shared by pairs is read once."""

    def __init__(self, vocab_size: int | None) -> None:
        """vocab_size: None where only the receiver knows it, who is to check."""
        self._vocab_size = vocab_size
        self._prompts: dict[int, tuple[Any, list[Message]]] = {}

    def __call__(self, conversation: Any) -> list[Message] | str | TokenIds:
        """Raises InvalidInput."""
        if isinstance(conversation, str):
            return check_text(conversation, "the text")
        if _looks_like_ids(conversation):
            return _check_ids(conversation, self._vocab_size)
        if not _is_pair(conversation):
            return check_messages(conversation)
        prompt, response = conversation
        if id(prompt) not in self._prompts:
            messages = [user_message(prompt)] if isinstance(prompt, str) else prompt
            # The prompt is kept, or another object could get its id.
            self._prompts[id(prompt)] = prompt, check_messages(messages)
        _, messages = self._prompts[id(prompt)]
        return [*messages, _check_response(response)]


def user_message(text: str) -> Message:
    """The message that a string prompt stands for, in files, calls and over HTTP."""
    return {"role": "user", "content": text}


def check_messages(value: Any) -> list[Message]:
    """`value` as messages; extra keys of a message are dropped, and text parts of a content joined.

    Raises InvalidInput for an empty list, a message that is no {role, content} of text, or text
    with lone surrogates.
    """
    if not isinstance(value, list | tuple):
        raise InvalidInput(
            f"a conversation is a list of messages, a (prompt, response) pair, text or token ids, "
            f"not {_kind(value)}"
        )
    if not value:
        raise InvalidInput("the conversation is empty; give at least one message")
    return [_message(message, index) for index, message in enumerate(value)]


def _check_response(response: Any) -> Message:
    """The response of a (prompt, response) pair as the assistant's message."""
    return {"role": "assistant", "content": check_text(response, "the response")}


def _is_pair(value: Any) -> bool:
    """Whether `value` is a (prompt, response) tuple rather than a tuple of messages."""
    return isinstance(value, tuple) and len(value) == 2 and not isinstance(value[1], Mapping)


def check_text(text: Any, place: str) -> str:
    """`text` as a string that UTF-8 can carry. Raises InvalidInput."""
    if not isinstance(text, str):
        raise InvalidInput(f"{place} must be a string, not {_kind(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{place} has a lone surrogate at character {error.start}; it is no valid Unicode: "
            "replace it, for instance by text.encode(errors='replace').decode()"
        ) from None
    return text


def _check_ids(value: Any, vocab_size: int | None) -> TokenIds:
    """`value` as int32 [T]. Raises InvalidInput unless 1-d, integer, non-empty, in vocabulary."""
    try:
        ids = np.asarray(value)
    except (ValueError, OverflowError):
        raise InvalidInput("token ids must be one flat list of integers") from None
    if not ids.size:
        raise InvalidInput("the list of token ids is empty; give at least one id")
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise InvalidInput(
            f"token ids must be one flat list of integers, not {ids.ndim}-d {ids.dtype}"
        )
    least, most = (INT32.min, INT32.max) if vocab_size is None else (0, vocab_size - 1)
    outside = (ids < least) | (ids > most)
    if outside.any():
        at = int(outside.argmax())
        where = "every vocabulary" if vocab_size is None else f"the vocabulary of {vocab_size}"
        raise InvalidInput(
            f"token id {ids[at]} at position {at} is outside {where}; "
            "encode with this model's own tokenizer"
        )
    return ids.astype(np.int32)


def _looks_like_ids(value: Any) -> bool:
    """Whether `value` means token ids: an array, or a list that starts with a number."""
    if isinstance(value, np.ndarray):
        return True
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and isinstance(value[0], int | float | np.number)
    )


def _message(message: Any, index: int) -> Message:
    place = f"message {index}"
    if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
        raise InvalidInput(f"{place} must be an object with role and content, not {_kind(message)}")
    role = check_text(message["role"], f"{place}: role")
    if not role.strip():
        raise InvalidInput(f"{place}: role is empty; use system, user or assistant")
    return {"role": role, "content": _content(message["content"], place)}


def _content(content: Any, place: str) -> str:
    """A text, or OpenAI's list of text parts as one."""
    if not isinstance(content, list | tuple):
        return check_text(content, f"{place}: content")
    if not content:
        raise InvalidInput(f"{place}: content is an empty list; give at least one text part")
    parts = (_part(part, f"{place}: part {i} of content") for i, part in enumerate(content))
    return BETWEEN_PARTS.join(parts)


def _part(part: Any, place: str) -> str:
    found = part.get("type") if isinstance(part, Mapping) else None
    if found != "text":
        named = f"of type {found[:40]!a}" if isinstance(found, str) else _kind(part)
        raise InvalidInput(
            f'{place} must be {{"type": "text", "text": ...}}, not {named}: only text can be scored'
        )
    return check_text(part.get("text"), f"{place}: text")


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"an object with keys {sorted(map(str, value))[:5]}"
    return "null" if value is None else type(value).__name__
