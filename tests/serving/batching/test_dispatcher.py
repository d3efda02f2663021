"""Lanes against replicas that a test scripts: who answers, who dies, who has room."""

from __future__ import annotations

import asyncio

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import ReplicaUnavailableError
from support.dispatcher import Bench, dies_with, rewards
from support.replicas import Replicas, answer

from cluster.errors import NotReady, ScoringFailed
from cluster.serving.batching.pending_requests import Result

pytestmark = pytest.mark.usefixtures("virtual_time")


def test_while_all_replicas_are_full_nothing_is_cut() -> None:
    """Two replicas of two slots: four calls are taken, what comes later waits and is one batch."""

    async def run() -> list[list[int]]:
        gate = asyncio.Event()

        async def wait(ids: list[int]) -> None:
            await gate.wait()

        replicas = Replicas(wait, ids=("a", "b"))
        bench = Bench(replicas)
        running = asyncio.create_task(bench.run_until(7))
        for i in range(4):
            bench.add(i)
            while len(replicas.batches) <= i:
                await asyncio.sleep(0)
        for i in (4, 5, 6):
            bench.add(i)
            await asyncio.sleep(0.001)
        assert len(replicas.batches) == 4
        gate.set()
        await running
        return replicas.batches

    assert asyncio.run(run()) == [[0], [1], [2], [3], [4, 5, 6]]


def test_a_new_replica_is_found_while_the_others_are_full() -> None:
    async def run() -> list[list[int]]:
        gate = asyncio.Event()

        async def wait(ids: list[int]) -> None:
            if ids != [9]:
                await gate.wait()

        known = ["a"]
        replicas = Replicas(wait, ids=known)
        bench = Bench(replicas, batch=1)
        bench.add(0, 1, 9)
        running = asyncio.create_task(bench.run_until(3))
        while len(replicas.batches) < 2:
            await asyncio.sleep(0)
        known.append("b")
        while 9 not in bench.results:
            await asyncio.sleep(0.001)
        gate.set()
        await running
        return replicas.batches

    assert asyncio.run(run())[-1] == [9]


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
@pytest.mark.parametrize("poison", [(2,), (0, 3), (0, 1, 2, 3)])
def test_what_kills_replicas_fails_alone_and_the_rest_is_scored(
    max_attempts: int, poison: tuple[int, ...]
) -> None:
    async def run() -> dict[int, Result]:
        bench = Bench(Replicas(dies_with(*poison)), max_attempts)
        bench.add(0, 1, 2, 3, 4, 5)
        return await bench.run_until(6)

    results = asyncio.run(run())
    expected = {i: "scoring_failed" if i in poison else float(i) for i in range(6)}
    assert rewards(results) == expected


def test_an_exception_of_the_backend_is_tried_again_and_split_like_a_death() -> None:
    async def run() -> dict[int, Result]:
        bench = Bench(Replicas(dies_with(1, error=RuntimeError("bad shape"))))
        bench.add(0, 1, 2, 3)
        return await bench.run_until(4)

    results = asyncio.run(run())
    assert rewards(results) == {0: 0.0, 1: "scoring_failed", 2: 2.0, 3: 3.0}
    failed = results[1]
    assert isinstance(failed, ScoringFailed)
    assert "RuntimeError" in failed.message
    assert "bad shape" not in failed.message, "the client is told the class, the log the rest"


def test_one_death_costs_no_item() -> None:
    async def run() -> dict[int, Result]:
        deaths = iter([ActorDiedError()])

        async def once(ids: list[int]) -> None:
            for error in deaths:
                raise error

        bench = Bench(Replicas(once), max_attempts=1)
        bench.add(0, 1)
        return await bench.run_until(2)

    assert rewards(asyncio.run(run())) == {0: 0.0, 1: 1.0}


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
def test_a_batch_that_only_stood_beside_the_poison_is_never_blamed(max_attempts: int) -> None:
    """Two slots on one replica; every batch sent to it while it dies is lost."""

    async def run() -> dict[int, Result]:
        dead = asyncio.Event()

        async def behave(ids: list[int]) -> None:
            if 1 in ids:
                await asyncio.sleep(0.001)
                dead.set()
                await asyncio.sleep(0)
                dead.clear()
                raise ActorDiedError()
            dying = asyncio.create_task(dead.wait())
            if (await asyncio.wait([dying], timeout=0.002))[0]:
                raise ActorDiedError()
            dying.cancel()

        bench = Bench(Replicas(behave), max_attempts, batch=1)
        bench.add(7, 1, 9, 8)
        return await bench.run_until(4)

    assert rewards(asyncio.run(run())) == {1: "scoring_failed", 7: 7.0, 8: 8.0, 9: 9.0}


def test_a_batch_that_never_reached_its_replica_is_not_blamed() -> None:
    async def run() -> dict[int, Result]:
        gone = iter([ReplicaUnavailableError("gone")] * 5)

        async def behave(ids: list[int]) -> None:
            for error in gone:
                raise error

        bench = Bench(Replicas(behave), max_attempts=1)
        bench.add(1)
        return await bench.run_until(1)

    assert rewards(asyncio.run(run())) == {1: 1.0}


def test_what_nobody_waits_for_is_not_tried_again() -> None:
    async def run() -> list[list[int]]:
        replicas = Replicas(lambda ids: behave(ids))
        bench = Bench(replicas, max_attempts=3)

        async def behave(ids: list[int]) -> None:
            if len(replicas.batches) == 1:
                sequences[0].waiters.clear()
                raise ActorDiedError()

        sequences = bench.add(0, 1)
        await bench.run_until(1)
        return replicas.batches

    assert asyncio.run(run()) == [[0, 1], [1]]


def test_where_no_replica_can_be_started_everything_that_waits_is_told_so() -> None:
    async def run() -> dict[int, Result]:
        replicas = Replicas(answer)
        replicas.unavailable = True
        bench = Bench(replicas, batch=1)
        bench.add(0, 1)
        return await bench.run_until(2)

    assert all(isinstance(result, NotReady) for result in asyncio.run(run()).values())


def test_a_replicas_own_error_for_a_batch_is_its_answer() -> None:
    async def run() -> dict[int, Result]:
        bench = Bench(Replicas(dies_with(1, error=NotReady("loading"))), batch=2)
        bench.add(0, 1, 2)
        return await bench.run_until(3)

    assert rewards(asyncio.run(run())) == {0: "not_ready", 1: "not_ready", 2: 2.0}


def test_a_call_that_serve_cancels_is_tried_again() -> None:
    async def run() -> dict[int, Result]:
        cancels = iter([asyncio.CancelledError()])

        async def once(ids: list[int]) -> None:
            for error in cancels:
                raise error

        bench = Bench(Replicas(once))
        bench.add(0, 1)
        return await bench.run_until(2)

    assert rewards(asyncio.run(run())) == {0: 0.0, 1: 1.0}
