"""Scorer interface of the routes; tests implement it with a fake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cluster.errors import RewardError
from cluster.types import Conversation, ModelInfo, Score


class Scorer(Protocol):
    """A service that scores conversations."""

    async def score(
        self, conversations: Sequence[Conversation], *, priority: int, deadline_s: float
    ) -> list[Score | RewardError]:
        """Results in order; an item that cannot be scored is an error whose `item` is its index.

        Never waits for room: a full queue is Overloaded at once. Answers within `deadline_s`.
        """

    async def info(self) -> ModelInfo:
        """The model of a replica that serves now. Raises NotReady if there is none."""

    async def ready(self) -> bool:
        """Whether a replica serves now."""
