"""Chat templates: messages -> token ids; the interface, and the exact Llama-3 construction.

Llama-3: ids are put together message by message, the frame from known ids and the content with
markers off, so that `<|eot_id|>` typed by a user stays text; equal to the rendered template for
every chat without such text. Every other template: see `general_template`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cluster.engine.encoding.markers import MarkedText, Markers
from cluster.errors import InvalidInput
from cluster.types import Message, TokenIds

PROBES: list[list[Message]] = [
    [
        {"role": "system", "content": "Be terse. "},
        {"role": "user", "content": "  你好 🙂\n\nHow is 12*3?"},
        {"role": "assistant", "content": "36.\n"},
    ],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}],
    [
        {"role": "user", "content": "\n\tHi  there"},
        {"role": "assistant", "content": "\n\nYes:\n```py\n x = 1\n```\n"},
        {"role": "user", "content": "- a\n- b "},
        {"role": "assistant", "content": " ça va ?"},
    ],
]
"""Chats in which the edges of messages meet the frame in many ways."""


@dataclass(frozen=True, slots=True)
class TemplatedIds:
    """A chat's ids without BOS.

    parts: to be concatenated; chats with the same prompt share the first. prompt_len: ids before
    the last turn's content, None if `Template.prompt_len` tells it from the ids.
    """

    parts: tuple[TokenIds, ...]
    prompt_len: int | None = None


OnIds = Callable[[int], None]


def ignore(n_ids: int) -> None:
    """Nobody bounds the call."""


class Template(Protocol):
    """Messages -> ids without BOS, and where the last turn's content begins."""

    def encode_all(
        self, chats: Sequence[Sequence[Message]], on_ids: OnIds = ...
    ) -> list[TemplatedIds | InvalidInput]:
        """The ids of each chat, or why it cannot be encoded.

        on_ids: called with the number of each chat's ids as they come; it raises to end the call.
        """

    def prompt_len(self, ids: TokenIds) -> int:
        """Ids before the last turn's content, 0 if ids alone do not tell."""


def render(tokenizer: Any, messages: Sequence[Message], generation_prompt: bool = False) -> str:
    """The template's text without BOS, as the model card's snippet makes it."""
    text: str = tokenizer.apply_chat_template(
        [dict(m) for m in messages], tokenize=False, add_generation_prompt=generation_prompt
    )
    return text.replace(tokenizer.bos_token, "") if tokenizer.bos_token else text


def prompt_key(chat: Sequence[Message]) -> tuple[str, ...]:
    """Equal for chats that differ only in their last message."""
    return tuple(text for m in chat[:-1] for text in (m["role"], m["content"]))


class Llama3Template:
    """`<|start_header_id|>role<|end_header_id|>\\n\\ncontent<|eot_id|>` from ids.

    Raises ValueError if the tokenizer lacks one of these tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        names = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
        start, end, eot = (tokenizer.convert_tokens_to_ids(name) for name in names)
        if None in (start, end, eot) or tokenizer.unk_token_id in (start, end):
            raise ValueError("not a Llama-3 tokenizer")
        self._text = MarkedText(tokenizer, Markers(tokenizer, names))
        self._start = np.array([start], np.int32)
        self._end = np.array([end, *_taken(self._encode(["\n\n"]), "\n\n")], np.int32)
        self._eot = np.array([eot], np.int32)

    def encode_all(
        self, chats: Sequence[Sequence[Message]], on_ids: OnIds = ignore
    ) -> list[TemplatedIds | InvalidInput]:
        """Ids of each chat; each distinct text and each distinct prompt is encoded once."""
        texts = self._encode(
            {text for chat in chats for m in chat for text in (m["role"], m["content"].strip())}
        )
        heads: dict[tuple[str, ...], TokenIds] = {}
        found: list[TemplatedIds | InvalidInput] = []
        for chat in chats:
            key = prompt_key(chat)
            try:
                if key not in heads:
                    heads[key] = self._assemble(chat[:-1], texts)
                parts = heads[key], self._assemble(chat[-1:], texts)
                found.append(TemplatedIds(parts))
            except InvalidInput as error:
                found.append(error)
            else:
                on_ids(sum(map(len, parts)))
        return found

    def prompt_len(self, ids: TokenIds) -> int:
        """Just behind the last header; 0 if there is none or nothing follows it."""
        headers = np.flatnonzero(ids == self._end[0])
        split = int(headers[-1]) + len(self._end) if len(headers) else 0
        return split if split < len(ids) else 0

    def _assemble(
        self, chat: Sequence[Message], texts: dict[str, TokenIds | InvalidInput]
    ) -> TokenIds:
        parts: list[TokenIds] = [np.zeros(0, np.int32)]
        for m in chat:
            role, content = _taken(texts, m["role"]), _taken(texts, m["content"].strip())
            parts += [self._start, role, self._end, content, self._eot]
        return np.concatenate(parts)

    def _encode(self, texts: Iterable[str]) -> dict[str, TokenIds | InvalidInput]:
        order = list(texts)
        return dict(zip(order, self._text.plain(order), strict=True))


def _taken(texts: dict[str, TokenIds | InvalidInput], text: str) -> TokenIds:
    """The ids of `text`. Raises InvalidInput where it has none."""
    ids = texts[text]
    if isinstance(ids, InvalidInput):
        raise InvalidInput(ids.message)
    return ids
