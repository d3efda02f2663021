"""A replica with the real engine: what it tells of its own speed and arithmetic. No Ray."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.serving.batching.load_tracker import LoadTracker
from cluster.serving.batching.pending_requests import QueuedSequence
from cluster.serving.metrics import ServingMetrics
from cluster.serving.protocol import BatchResult, Source
from cluster.serving.replica.backends import backend_factory
from cluster.serving.replica.replica import Replica
from cluster.types import EncodedBatch, Encoding


def test_wall_seconds_are_those_of_all_forwards_of_a_batch_on_the_real_engine(
    smallest_checkpoint: Path,
) -> None:
    """A CPU cuts a batch into forwards; their rate is the batch's, not that of the slowest."""
    config = EngineConfig(model=str(smallest_checkpoint), device="cpu", token_budget=16384)
    rng = np.random.default_rng(0)
    many = [Encoding(rng.integers(5, 200, 400).astype(np.int32)) for _ in range(16)]
    batch = EncodedBatch.from_encodings(many)

    async def run() -> BatchResult:
        replica = Replica(config, backend_factory("engine", FakeGpuConfig()), 60.0)
        await replica.reconfigure({})
        return await replica.score(batch)

    result = asyncio.run(run())
    forwards = set(result.forward_s_N.tolist())
    assert len(forwards) > 1, "the batch was one forward"
    assert result.wall_s >= sum(forwards) > max(forwards)
    load_tracker = LoadTracker(ServingMetrics(), token_budget=16384, share_prompts=True)
    sequences = [QueuedSequence(each, bytes([i]), 0, None, 0.0) for i, each in enumerate(many)]
    load_tracker.answered(sequences, result, 6400)
    assert load_tracker.rate.tokens_per_s == pytest.approx(6400 / result.wall_s)


def test_a_reward_names_the_arithmetic_that_made_it(smallest_checkpoint: Path) -> None:
    """Rewards of two kinds of device are not compared bit for bit."""

    def source(compute: str) -> Source:
        config = EngineConfig(model=str(smallest_checkpoint), device="cpu", compute=compute)  # type: ignore[arg-type]

        async def run() -> BatchResult:
            replica = Replica(config, backend_factory("engine", FakeGpuConfig()), 60.0)
            await replica.reconfigure({})
            batch = EncodedBatch.from_encodings([Encoding(np.array([5, 6, 7], np.int32))])
            return await replica.score(batch)

        (found,) = asyncio.run(run()).sources
        return found

    model, float32 = source("model"), source("float32")
    assert model.arithmetic.startswith("cpu ")
    assert model != float32
    assert model._replace(arithmetic="") == float32._replace(arithmetic="")
