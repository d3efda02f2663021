"""Conversations that more than one test of the encoder reads."""

from __future__ import annotations

from cluster.types import Message

CARD_CHAT: list[Message] = [
    {"role": "user", "content": "Hello, how are you?"},
    {"role": "assistant", "content": "I'm doing great. How can I help you today?"},
    {"role": "user", "content": "I'd like to show off how chat templating works!"},
]
TEXT_PART = {"type": "text", "text": "x"}
