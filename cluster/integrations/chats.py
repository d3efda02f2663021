"""Chats of a trainer's samples: its prompt and completion, in the forms that trainers have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cluster.data.validation import user_message
from cluster.types import Conversation, Message


def chat(prompt: Any, completion: Any) -> Conversation:
    """The conversation to score. A text stands for one message, the prompt the user's; messages are
    dicts or objects with `role` and `content`, whose other fields are left out."""
    before = [user_message(prompt)] if isinstance(prompt, str) else messages(prompt)
    if isinstance(completion, str):
        return before, completion
    after = messages(completion)
    if len(after) == 1 and _is_answer(after[0]):
        return before, after[0]["content"]
    return [*before, *after]


def messages(found: Iterable[Any]) -> list[Message]:
    """Role and content of each. What is not text stays as it is, for the encoder to check."""
    return [_message(message) for message in found]


def whole_chat(found: Iterable[Any]) -> Conversation:
    """Messages that end with the response: split before it, as its prompt may be shared."""
    every = messages(found)
    if len(every) > 1 and _is_answer(every[-1]):
        return every[:-1], every[-1]["content"]
    return every


def _is_answer(message: Message) -> bool:
    """Whether it can be the response of a pair, whose content is one text."""
    return message["role"] == "assistant" and isinstance(message["content"], str)


def _message(message: Any) -> Message:
    if isinstance(message, Mapping):
        return Message(role=message.get("role", ""), content=message.get("content", ""))
    return Message(role=message.role, content=message.content)
