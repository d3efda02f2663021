"""A batcher in which nothing moves says so: health check, queue state, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest
from support.replicas import Replicas, Slot, answer

from cluster.config import ClusterConfig
from cluster.serving.batching import batcher as module
from cluster.serving.batching.batcher import Batcher
from cluster.types import EncodedBatch, Encoding

pytestmark = pytest.mark.usefixtures("virtual_time")


class Wedged(Replicas):
    """Serve's router never chooses again after `wedged` is set; the replicas are well."""

    def __init__(self) -> None:
        super().__init__(answer)
        self.wedged = False

    @asynccontextmanager
    async def choose_replica(
        self, pool: Any = None, only: str | None = None
    ) -> AsyncIterator[Slot]:
        while self.wedged:
            await asyncio.sleep(0.001)
        async with super().choose_replica(pool, only) as slot:
            yield slot


def question(i: int) -> EncodedBatch:
    return EncodedBatch.from_encodings([Encoding(np.full(2, i, np.int32))])


async def fails_its_health_check(batcher: Batcher) -> bool:
    """Within a second; asked all the time, as Serve does."""
    for _ in range(200):
        try:
            await batcher.check_health()
        except RuntimeError as error:
            return "wait beside an idle replica" in str(error)
        await asyncio.sleep(0.005)
    return False


@pytest.fixture
def replicas(monkeypatch: pytest.MonkeyPatch) -> Wedged:
    monkeypatch.setattr(module, "STALLED_S", 0.05)
    return Wedged()


def test_work_beside_an_idle_replica_that_does_not_move_fails_the_health_check(
    replicas: Wedged,
) -> None:
    async def run() -> None:
        batcher = Batcher(cast(Any, replicas), ClusterConfig())
        await batcher.score_batch(question(1))
        await batcher.check_health()
        replicas.wedged = True
        waiting = asyncio.create_task(batcher.score_batch(question(2)))
        assert await fails_its_health_check(batcher)
        state = await batcher.state()
        assert state.oldest_s > 0
        assert state.since_dispatch_s > 0
        replicas.wedged = False
        await waiting
        await batcher.check_health()
        assert (await batcher.state()).oldest_s == 0

    asyncio.run(run())


def test_work_that_waits_for_replicas_that_do_not_answer_is_no_fault_of_the_batcher(
    replicas: Wedged,
) -> None:
    async def run() -> None:
        batcher = Batcher(cast(Any, replicas), ClusterConfig())
        await batcher.score_batch(question(1))
        replicas.wedged = True
        replicas.frozen.add("a")
        waiting = asyncio.create_task(batcher.score_batch(question(2)))
        await asyncio.sleep(0.2)
        await batcher.check_health()
        replicas.frozen.clear()
        replicas.wedged = False
        await waiting

    asyncio.run(run())
