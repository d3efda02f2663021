"""Who is blamed for a dead replica: what killed it, and nothing that only stood beside it."""

from __future__ import annotations

import asyncio

import pytest
from ray.exceptions import ActorDiedError
from support.dispatcher import Bench, dies_with, rewards
from support.replicas import Replicas

pytestmark = pytest.mark.usefixtures("virtual_time")


def test_poison_kills_replicas_only_the_first_time() -> None:
    async def run() -> None:
        replicas = Replicas(dies_with(1))
        bench = Bench(replicas)
        bench.add(0, 1)
        await bench.run_until(2)
        n_sent = len(replicas.batches)
        bench.results.clear()
        bench.add(1, 2)
        assert rewards(await bench.run_until(2)) == {1: "scoring_failed", 2: 2.0}
        assert replicas.batches[n_sent:] == [[2]]

    asyncio.run(run())


def test_two_batchers_on_the_same_replicas_never_blame_a_bystander() -> None:
    """Each counts its own batches only; a death takes whatever the replica holds of both."""

    async def run() -> list[dict[int, float | str]]:
        replicas = Replicas(lambda ids: behave(ids), ids=("a", "b"))
        dying: dict[str, asyncio.Event] = {name: asyncio.Event() for name in replicas.ids}

        async def behave(ids: list[int]) -> None:
            where = dying[replicas.where[len(replicas.batches) - 1]]
            death = asyncio.create_task(where.wait())
            done, _ = await asyncio.wait([death], timeout=0.002)
            death.cancel()
            if 1 in ids and not done:
                where.set()
                where.clear()
            if done or 1 in ids:
                raise ActorDiedError()

        benches = [Bench(replicas, max_attempts=2, batch=1) for _ in range(2)]
        benches[0].add(1, *range(10, 20))
        benches[1].add(*range(20, 40))
        found = await asyncio.gather(benches[0].run_until(11), benches[1].run_until(20))
        return [rewards(each) for each in found]

    first, second = asyncio.run(run())
    assert first == {1: "scoring_failed"} | {i: float(i) for i in range(10, 20)}
    assert second == {i: float(i) for i in range(20, 40)}
