"""Replicas that hang: frozen processes, and devices that do not come back."""

from __future__ import annotations

import asyncio

import pytest
from support.dispatcher import Bench, rewards, until
from support.replicas import Replicas, answer

from cluster.serving.batching import replica_pool
from cluster.serving.batching.pending_requests import Result
from cluster.serving.batching.replica_pool import MAX_BATCHES_PER_REPLICA

pytestmark = pytest.mark.usefixtures("virtual_time")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen replica is noticed at once."""
    monkeypatch.setattr(replica_pool, "PING_AFTER_S", 0.005)
    monkeypatch.setattr(replica_pool, "SILENT_AFTER_S", 0.05)


@pytest.mark.usefixtures("quick")
def test_what_a_frozen_replica_holds_is_scored_elsewhere_and_it_gets_nothing_more() -> None:
    async def run() -> None:
        replicas = Replicas(answer, ids=("a", "b"))
        replicas.frozen.add("a")
        bench = Bench(replicas, batch=1)
        bench.add(*range(12))
        async with bench.running():
            await until(lambda: len(bench.results) == 12)
        assert rewards(bench.results) == {i: float(i) for i in range(12)}
        assert replicas.where.count("a") <= MAX_BATCHES_PER_REPLICA
        assert bench.dispatcher.pool.struck() == ["a"]

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_a_thawed_replica_answers_into_the_void_and_gets_work_again() -> None:
    async def run() -> None:
        replicas = Replicas(answer, ids=("a", "b"))
        replicas.frozen.add("a")
        bench = Bench(replicas, batch=1)
        async with bench.running():
            bench.add(*range(8))
            await until(lambda: len(bench.results) == 8)
            replicas.frozen.clear()
            await until(lambda: not bench.dispatcher.pool.struck())
            before = replicas.where.count("a")
            bench.add(*range(8, 30))
            await until(lambda: len(bench.results) == 30)
        assert replicas.where.count("a") > before

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_with_every_replica_frozen_work_waits_and_is_scored_after_the_thaw() -> None:
    async def run() -> dict[int, Result]:
        replicas = Replicas(answer)
        replicas.frozen.add("a")
        bench = Bench(replicas, batch=1)
        bench.add(*range(6))
        running = asyncio.create_task(bench.run_until(6))
        await until(lambda: bench.dispatcher.pool.struck() == ["a"])
        assert not bench.results
        replicas.frozen.clear()
        return await running

    assert rewards(asyncio.run(run())) == {i: float(i) for i in range(6)}


def test_a_late_batch_is_asked_for_elsewhere_and_the_first_answer_wins() -> None:
    """Its replica answers pings: only its device does not come back."""

    async def run() -> dict[int, Result]:
        gate = asyncio.Event()
        replicas = Replicas(lambda ids: behave(), ids=("a", "b"))

        async def behave() -> None:
            if len(replicas.batches) == 1:
                await gate.wait()

        bench = Bench(replicas, stuck_after_s=0.05)
        bench.add(0, 1, 2)
        async with bench.running():
            await until(lambda: len(bench.results) == 3)
            assert bench.dispatcher.pool.struck()
            gate.set()
            await until(lambda: not bench.dispatcher.pool.struck())
        return bench.results

    assert rewards(asyncio.run(run())) == {0: 0.0, 1: 1.0, 2: 2.0}
