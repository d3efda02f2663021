"""Replica backends: the engine, or a fake that sleeps as long as a GPU would compute.

A backend scores encodings on one device and knows nothing of Ray. A factory builds one from an
`EngineConfig`; the registry's factories import lazily, so that choosing `sleep` loads no torch.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.errors import RewardError
from cluster.types import Encoding, ModelInfo, Score, TokenIds


class Backend(Protocol):
    """One loaded model on one device."""

    @property
    def info(self) -> ModelInfo:
        """What is loaded; its revision goes into every score."""

    def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        """Rewards in the same order, an error for an item that cannot be scored."""


BackendFactory = Callable[[EngineConfig], Backend]


class SleepBackend:
    """A fake GPU: the forward sleeps as long as the roofline says, the reward is `fake_reward`.

    Everything around it is real: queues, processes, arrays, batch cuts.
    """

    def __init__(self, config: EngineConfig, gpu: FakeGpuConfig) -> None:
        self._gpu = gpu
        self.info = ModelInfo(
            model=config.model,
            revision=config.revision or "none",
            architecture="sleep",
            dtype=config.dtype,
            compute_dtype=config.dtype,
            device="fake",
            numerics=config.numerics,
            vocab_size=2**31 - 1,
            max_tokens=config.max_tokens or 8192,
            n_parameters=int(gpu.flops_per_token / 2),
        )

    def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        started = time.perf_counter()
        n_tokens = sum(e.n_tokens for e in encodings)
        time.sleep(self._gpu.launch_s + n_tokens * self._gpu.flops_per_token / self._gpu.flops)
        forward_s = time.perf_counter() - started
        info = self.info
        return [
            Score(
                reward=fake_reward(e.input_ids, info.revision),
                n_tokens=e.n_tokens,
                n_bos=e.n_bos,
                truncated=e.truncated,
                queue_s=0.0,
                forward_s=forward_s,
                model=info.model,
                revision=info.revision,
                numerics=info.numerics,
            )
            for e in encodings
        ]


def fake_reward(input_ids: TokenIds, revision: str) -> float:
    """A reward in [-4, 4) that is a pure function of the ids and the revision."""
    ids = np.ascontiguousarray(input_ids, dtype=np.int32)
    return zlib.crc32(ids.tobytes(), zlib.crc32(revision.encode())) / 2**29 - 4


def backend_factory(name: str, gpu: FakeGpuConfig) -> BackendFactory:
    """The factory registered as `name`: `engine` or `sleep`."""
    factories: dict[str, BackendFactory] = {
        "engine": _load_engine,
        "sleep": lambda config: SleepBackend(config, gpu),
    }
    return factories[name]


def _load_engine(config: EngineConfig) -> Backend:
    from cluster.engine.engine import Engine

    if config.verify_at_start:
        from cluster.engine.parity.check import require_parity

        require_parity(config)
    return Engine.load(config)
