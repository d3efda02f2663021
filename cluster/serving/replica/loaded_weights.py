"""Loaded weights of a replica, and which encodings it refuses to score with them.

A load is one loading of weights in one replica process, named by a random id. Answers that are kept
for retries belong to a load and are dropped with it, even when an older revision comes back. Knows
nothing of Serve, queues or callers. Shape legend: N sequences.
"""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass, field

import numpy as np

from cluster.config import EngineConfig, WeightsConfig
from cluster.errors import EncoderChanged, InvalidInput, ModelRefused, RewardError, TooLong
from cluster.serving.protocol import Source
from cluster.serving.replica.backends import Backend
from cluster.types import EncodedBatch, Encoding, ModelInfo

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Loaded:
    """The weights that serve. engine: the config they were loaded from, encoder settings
    included."""

    backend: Backend
    engine: EngineConfig
    load: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def source(self) -> Source:
        """What its rewards name as their source."""
        info = self.backend.info
        arithmetic = f"{info.hardware} {info.compute_dtype} {info.forward}"
        return Source(info.model, info.revision, info.numerics, arithmetic)


def engine_of(engine: EngineConfig, weights: WeightsConfig) -> EngineConfig:
    """The engine section with the `user_config`'s model and revision."""
    if weights.model is None and weights.revision is None:
        return engine
    return dataclasses.replace(
        engine, model=weights.model or engine.model, revision=weights.revision
    )


def require_room(old: ModelInfo, new: EngineConfig) -> None:
    """Raises ModelRefused if `new` would not fit on the device next to `old`.

    Passes if that cannot be known (no local files, no real device).
    """
    if not old.device.startswith(("cpu", "cuda")):
        return
    from cluster.engine.memory import free_bytes, weight_bytes

    need, free = weight_bytes(new), free_bytes(old.device)
    if need is not None and need > free:
        raise ModelRefused(
            f"the weights of {new.model!r} need about {need / GIB:.1f} GiB on {old.device} beside "
            f"those that serve, and {free / GIB:.1f} GiB are free. Set drop_old_first: true in the "
            "Replica's user_config: the old weights are dropped first, and this replica answers "
            "nothing until the new ones are loaded"
        )


def refused(batch: EncodedBatch, info: ModelInfo) -> dict[int, RewardError]:
    """The items of `batch` that this model must not score, by index, with the reason.

    An encoding of another tokenizer, template or limit; ids of the caller's own that are outside
    the vocabulary or too many.
    """
    errors: dict[int, RewardError] = {}
    foreign = [
        place
        for place, made_by in enumerate(batch.fingerprints)
        if made_by and info.encoder and made_by != info.encoder
    ]
    for i in np.flatnonzero(np.isin(batch.fingerprint_N, foreign)).tolist():
        errors[i] = EncoderChanged(
            f"encoded for another tokenizer, template or limit than {info.model!r} at revision "
            f"{info.revision} has; encode again",
            i,
        )
    for i, encoding in enumerate(batch.encodings()):
        if not encoding.fingerprint and (error := _own_ids(encoding, info)) is not None:
            errors[i] = error.at(i)
    return errors


def _own_ids(encoding: Encoding, info: ModelInfo) -> RewardError | None:
    ids = encoding.input_ids
    if not len(ids):
        return InvalidInput("the list of token ids is empty; give at least one id")
    if len(ids) > info.max_tokens:
        return TooLong(f"{len(ids)} tokens are more than {info.max_tokens}; shorten the ids")
    if ids.min() < 0 or ids.max() >= info.vocab_size:
        return InvalidInput(
            f"a token id is outside the vocabulary of {info.vocab_size}; encode with this model's "
            "own tokenizer"
        )
    return None
