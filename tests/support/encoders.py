"""Encoders and services that a test scripts, for what encodes and asks. No Ray, no tokenizer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from support.model_info import model_info

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import EncoderChanged, InvalidInput, RewardError
from cluster.serving.batching.batcher_client import BatcherClient
from cluster.serving.protocol import ServedModel
from cluster.types import Encoding, Score


def served(fingerprint: str, model: str = "m", revision: str = "r1") -> ServedModel:
    """What a replica says that serves `model` with the encoder `fingerprint`."""
    info = model_info(model=model, revision=revision, encoder=fingerprint)
    return ServedModel(info, EngineConfig(model=model, revision=revision))


class Encoder:
    """Encodes text as its code points; text longer than `limit` is refused."""

    def __init__(self, fingerprint: str, limit: int = 50) -> None:
        self.fingerprint = fingerprint
        self.limit = limit
        self.n_calls = 0

    def encode_all(self, conversations: Sequence[str]) -> list[Encoding | RewardError]:
        self.n_calls += 1
        return [
            Encoding(np.array([ord(c) for c in text], np.int32), fingerprint=self.fingerprint)
            if len(text) <= self.limit
            else InvalidInput("too long", i)
            for i, text in enumerate(conversations)
        ]


class Service:
    """A submitter to a service that serves one encoder's model, as `ConversationScorer` uses it.

    revisions: what the answers to the coming calls name, one a call; the last one stays.
    """

    def __init__(self, fingerprint: str = "f1", revisions: Sequence[str] = ("r1",)) -> None:
        self.serves = served(fingerprint)
        self.revisions = list(revisions)
        self.asked: list[list[int]] = []
        self.terms: list[tuple[Any, ...]] = []

    async def served(self, deadline: float | None) -> ServedModel:
        return self.serves

    async def results(
        self, encodings: Mapping[int, Encoding], *terms: Any, **more: Any
    ) -> AsyncIterator[tuple[int, Score | RewardError]]:
        revision = self.revisions.pop(0) if len(self.revisions) > 1 else self.revisions[0]
        self.asked.append(list(encodings))
        self.terms.append(terms)
        for i, encoding in encodings.items():
            if encoding.fingerprint != self.serves.info.encoder:
                yield i, EncoderChanged("another encoder", i)
            else:
                yield i, score(float(encoding.input_ids.sum()), revision)


def score(reward: float, revision: str = "r1") -> Score:
    """A score of `revision`."""
    return Score(reward, 1, 0, False, 0.0, 0.0, "m", revision, "invariant")


def as_submitter(service: Service) -> BatcherClient:
    """For the type checker."""
    return cast(BatcherClient, service)


def as_encoder(encoder: Encoder) -> ChatEncoder:
    """For the type checker."""
    return cast(ChatEncoder, encoder)
