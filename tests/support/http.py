"""A service whose rewards a test can predict, behind the seam of the HTTP routes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from support.model_info import model_info

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import NotReady, RewardError
from cluster.serving.http.inspector import TokenizedChat, tokenized
from cluster.serving.metrics import Totals
from cluster.serving.replica.backends import fake_reward
from cluster.serving.status import Snapshot
from cluster.types import Conversation, Encoding, ModelInfo, Score

INFO = model_info(model="fake", architecture="none")


class FakeScorer:
    """Encodes for real; the rest is a pure function of the ids. fail: raised instead."""

    def __init__(self, encoder: ChatEncoder) -> None:
        self.encoder = encoder
        self.fail: Exception | None = None
        self.instead: list[Score | RewardError] | None = None
        self.serving = True
        self.asked: list[tuple[list[Conversation], int, float]] = []

    async def score(
        self, conversations: Sequence[Conversation], *, priority: int, deadline_s: float
    ) -> list[Score | RewardError]:
        self.asked.append((list(conversations), priority, deadline_s))
        if self.fail is not None:
            raise self.fail
        if self.instead is not None:
            return self.instead
        encoded = self.encoder.encode_all(conversations)
        return [score_of(item) if isinstance(item, Encoding) else item for item in encoded]

    async def info(self) -> ModelInfo:
        if not self.serving:
            raise NotReady("no replica")
        return INFO

    async def ready(self) -> bool:
        return self.serving


def score_of(encoding: Encoding) -> Score:
    """The record that the fake gives for these ids."""
    reward = fake_reward(encoding.input_ids, INFO.revision)
    return dataclasses.replace(
        made_score(reward),
        n_tokens=encoding.n_tokens,
        n_bos=encoding.n_bos,
        truncated=encoding.truncated,
    )


def made_score(reward: float, revision: str = "r1") -> Score:
    """A record with this reward."""
    return Score(
        reward=reward,
        n_tokens=3,
        n_bos=1,
        truncated=False,
        queue_s=0.25,
        forward_s=0.5,
        model="fake",
        revision=revision,
        numerics="invariant",
    )


class FakeInspector:
    """Encodes for real; `now` is the service's state."""

    def __init__(self, encoder: ChatEncoder) -> None:
        self._encoder = encoder
        self.now = Snapshot("fake", "RUNNING", "", time.monotonic(), totals=Totals(batches=3))

    async def tokenize(
        self, conversations: Sequence[Conversation], *, deadline_s: float
    ) -> list[TokenizedChat | RewardError]:
        return tokenized(self._encoder, conversations, 10_000)

    async def status(self) -> Snapshot:
        return self.now
