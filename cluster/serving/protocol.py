"""Message formats between processes: results as flat arrays.

A call's answer is one `BatchResult` whatever its size: three float arrays, an index into the few
distinct models that answered, and the errors by item. A call that is not streamed, and its answer,
travel as `bytes`: Ray puts anything else through a pickler of its own, array by array. Knows
nothing of Ray.
Shape legend: N items of the call.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.config import EngineConfig
from cluster.errors import RewardError
from cluster.types import Encoding, ModelInfo, Numerics, Score

Floats = npt.NDArray[np.float64]


def to_bytes(value: Any) -> bytes:
    """For another process of the service."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def from_bytes(data: bytes) -> Any:
    """The inverse of `to_bytes`; only for what a process of the service has sent."""
    return pickle.loads(data)


class Source(NamedTuple):
    """What produced a reward; two rewards are comparable bit for bit only if these are equal.

    arithmetic: kind of device and dtype of the computation, "" if the backend does not report it.
    """

    model: str
    revision: str
    numerics: Numerics
    arithmetic: str = ""


class ItemResult(NamedTuple):
    """One scored item between a replica's answer and a caller's.

    load: id of the replica's weight load that produced it, "" once it is on its way to a caller.
    """

    reward: float
    queue_s: float
    forward_s: float
    source: Source
    load: str = ""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a replica serves. engine: the config from which its encoder can be loaded."""

    info: ModelInfo
    engine: EngineConfig


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The answer to one `EncodedBatch`, item by item in its order.

    rewards_N: NaN exactly where `errors` holds the item.
    queue_s_N, forward_s_N: seconds.  source_N: index into `sources`, -1 where there is an error.
    load: in a replica's answer, id of its weight load.
    wall_s: seconds that the device took for the whole batch, over all its forwards.
    computed_tokens: tokens that it ran, without cached prompts; 0 if the backend does not report
    it.
    """

    rewards_N: Floats
    queue_s_N: Floats
    forward_s_N: Floats
    source_N: npt.NDArray[np.int32]
    sources: tuple[Source, ...]
    errors: Mapping[int, RewardError]
    load: str = ""
    wall_s: float = 0.0
    computed_tokens: int = 0

    @classmethod
    def from_items(cls, items: Sequence[ItemResult | RewardError], load: str = "") -> BatchResult:
        """Collect item results; an error is renumbered to its place in this call."""
        n = len(items)
        rewards, queue, forward = np.full(n, np.nan), np.zeros(n), np.zeros(n)
        source_N = np.full(n, -1, np.int32)
        sources: dict[Source, int] = {}
        errors: dict[int, RewardError] = {}
        for i, item in enumerate(items):
            if isinstance(item, RewardError):
                errors[i] = item.at(i)
            else:
                rewards[i], queue[i], forward[i], source, _ = item
                source_N[i] = sources.setdefault(source, len(sources))
        return cls(rewards, queue, forward, source_N, tuple(sources), errors, load)

    @classmethod
    def from_scores(
        cls, scores: Sequence[Score | RewardError], load: str = "", arithmetic: str = ""
    ) -> BatchResult:
        """A backend's answer; the inverse of `scores`. arithmetic: see `Source`."""
        return cls.from_items([_item(score, arithmetic) for score in scores], load)

    def items(self) -> list[ItemResult | RewardError]:
        """The results one by one; the inverse of `from_items`."""
        columns = zip(
            self.rewards_N.tolist(),
            self.queue_s_N.tolist(),
            self.forward_s_N.tolist(),
            self.source_N.tolist(),
            strict=True,
        )
        return [
            self.errors[i]
            if i in self.errors
            else ItemResult(reward, queue_s, forward_s, self.sources[source], self.load)
            for i, (reward, queue_s, forward_s, source) in enumerate(columns)
        ]

    def scores(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        """The full scores, with what the request (`encodings`) knows about each item."""
        return [
            item
            if isinstance(item, RewardError)
            else Score(
                item.reward,
                encoding.n_tokens,
                encoding.n_bos,
                encoding.truncated,
                item.queue_s,
                item.forward_s,
                item.source.model,
                item.source.revision,
                item.source.numerics,
            )
            for encoding, item in zip(encodings, self.items(), strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rewards_N)


def _item(score: Score | RewardError, arithmetic: str) -> ItemResult | RewardError:
    if isinstance(score, RewardError):
        return score
    source = Source(score.model, score.revision, score.numerics, arithmetic)
    return ItemResult(score.reward, score.queue_s, score.forward_s, source)
