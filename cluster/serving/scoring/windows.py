"""Windows of a call: parts small enough to be encoded and held at a time.

Sizes are estimated from characters, before anything is encoded. Knows nothing of tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WINDOW_ITEMS = 4096
WINDOW_CHARS = 4_000_000
"""A window ends at whichever limit comes first; ids count as characters."""


def windows(piece: Mapping[int, Any]) -> Iterator[dict[int, Any]]:
    """Consecutive parts of `piece`, each within the limits or one larger item alone."""
    window: dict[int, Any] = {}
    room = WINDOW_CHARS
    for i, conversation in piece.items():
        n_chars = size(conversation)
        if window and (n_chars > room or len(window) == WINDOW_ITEMS):
            yield window
            window, room = {}, WINDOW_CHARS
        window[i] = conversation
        room -= n_chars
    if window:
        yield window


def size(value: Any) -> int:
    """Characters of text and ids of arrays in a conversation, whatever its form."""
    if isinstance(value, Mapping):
        return sum(map(size, value.values()))
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int | float):
        return sum(size(part) for part in value)
    return len(value) if hasattr(value, "__len__") else 1
