"""Window scorer: what is encoded on the event loop, and what in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import RewardError
from cluster.serving.scoring.window_scorer import AT_ONCE_CHARS, AT_ONCE_ITEMS, _encoded
from cluster.types import Encoding


class Watched:
    """An encoder that remembers which thread it ran in."""

    def __init__(self, encoder: ChatEncoder) -> None:
        self._encoder = encoder
        self.thread: int | None = None

    def encode_all(self, conversations: Sequence[Any]) -> list[Encoding | RewardError]:
        self.thread = threading.get_ident()
        return self._encoder.encode_all(conversations)


def parts(n_chars: int) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": "x" * n_chars}]}]


@pytest.mark.parametrize(
    ("conversations", "at_once"),
    [
        (["x" * 100], True),
        (["x"] * AT_ONCE_ITEMS, True),
        (["x"] * (AT_ONCE_ITEMS + 1), False),
        (["x" * AT_ONCE_CHARS], True),
        (["x" * (AT_ONCE_CHARS + 1)], False),
        ([parts(AT_ONCE_CHARS + 1)], False),
    ],
)
def test_only_what_is_short_holds_the_event_loop(
    encoder: ChatEncoder, conversations: list[Any], at_once: bool
) -> None:
    watched: Any = Watched(encoder)
    asked = dict(enumerate(conversations))
    found = asyncio.run(_encoded(watched, asked, None))
    assert (watched.thread == threading.get_ident()) == at_once
    wanted = encoder.encode_all(conversations)
    assert list(found) == list(asked)
    for one, other in zip(found.values(), wanted, strict=True):
        assert isinstance(one, Encoding)
        assert isinstance(other, Encoding)
        assert one.input_ids.tolist() == other.input_ids.tolist()
