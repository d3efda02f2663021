"""The batcher over scripted replicas; it over real ones is in test_failures."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import numpy as np
import pytest
from ray.exceptions import ActorDiedError
from support.replicas import Replicas, answer

from cluster.config import ClusterConfig, EngineConfig, SchedulerConfig
from cluster.errors import DeadlineExceeded, Overloaded
from cluster.serving.batching.batcher import Batcher
from cluster.serving.deadline import Deadline
from cluster.serving.protocol import BatchResult
from cluster.types import EncodedBatch, Encoding

pytestmark = pytest.mark.usefixtures("virtual_time")


def batcher(replicas: Replicas, **scheduler: Any) -> Batcher:
    config = ClusterConfig(
        engine=EngineConfig(token_budget=8), scheduler=SchedulerConfig(**scheduler)
    )
    return Batcher(cast(Any, replicas), config)


def question(*ids: int, n_tokens: int = 2) -> EncodedBatch:
    """Sequences that begin with these ids."""
    return EncodedBatch.from_encodings([Encoding(np.full(n_tokens, i, np.int32)) for i in ids])


class Gate:
    """Replicas that hold every batch until opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.replicas = Replicas(self._wait)

    async def _wait(self, ids: list[int]) -> None:
        await self.opened.wait()

    async def taken(self, n: int) -> None:
        """Until `n` batches are on the replicas."""
        while len(self.replicas.batches) < n:
            await asyncio.sleep(0)

    async def fill(self, service: Batcher) -> list[asyncio.Task[BatchResult]]:
        """The calls of two batches that are on the replica, which has room for no third."""
        calls = [
            asyncio.create_task(service.score_batch(question(*range(4 * i, 4 * i + 4))))
            for i in range(2)
        ]
        await self.taken(2)
        return calls


def test_a_call_is_answered_in_order_within_the_token_budget() -> None:
    async def run() -> tuple[BatchResult, list[list[int]]]:
        replicas = Replicas(answer)
        return await batcher(replicas).score_batch(question(*range(10))), replicas.batches

    result, batches = asyncio.run(run())
    assert result.rewards_N.tolist() == [float(i) for i in range(10)]
    assert max(len(batch) for batch in batches) <= 4, "eight tokens, two a sequence"
    assert sorted(i for batch in batches for i in batch) == list(range(10))


def test_the_same_question_asked_twice_at_once_or_later_is_scored_once() -> None:
    async def run() -> list[list[int]]:
        replicas = Replicas(answer)
        service = batcher(replicas)
        await asyncio.gather(*(service.score_batch(question(1, 2)) for _ in range(3)))
        again = await service.score_batch(question(2, 1))
        assert again.rewards_N.tolist() == [2.0, 1.0]
        return replicas.batches

    assert asyncio.run(run()) == [[1, 2]]


@pytest.mark.parametrize("gives_up", [True, False])
def test_who_asks_again_for_what_is_on_a_device_is_answered_by_that_forward(
    gives_up: bool,
) -> None:
    """Its new deadline is later, and a second replica is idle."""

    async def run() -> list[list[int]]:
        gate = Gate()
        gate.replicas.ids = ("a", "b")
        service = batcher(gate.replicas)
        first = asyncio.create_task(
            service.score_batch(question(1, 2), deadline=Deadline.after(10.0))
        )
        await gate.taken(1)
        if gives_up:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        again = asyncio.create_task(service.score_batch(question(1, 2), 1, Deadline.after(20.0)))
        await asyncio.sleep(0)
        other = asyncio.create_task(service.score_batch(question(3)))
        await gate.taken(2)
        gate.opened.set()
        assert (await again).rewards_N.tolist() == [1.0, 2.0]
        await other
        assert (await service.state()).oldest_s == 0.0
        return gate.replicas.batches

    assert asyncio.run(run()) == [[1, 2], [3]]


def test_callers_of_one_queued_question_share_its_forward_and_keep_their_own_deadlines() -> None:
    """As concurrent HTTP requests do, each of which ends a little later than the one before."""

    async def run() -> list[list[int]]:
        gate = Gate()
        service = batcher(gate.replicas)
        full = await gate.fill(service)
        asked = [
            asyncio.create_task(service.score_batch(question(50), deadline=Deadline.after(seconds)))
            for seconds in (5.0, 20.0, 30.0)
        ]
        await asyncio.sleep(10.0)
        too_late = await asked[0]
        assert isinstance(too_late.items()[0], DeadlineExceeded)
        gate.opened.set()
        assert [(await each).rewards_N.tolist() for each in asked[1:]] == [[50.0], [50.0]]
        await asyncio.gather(*full)
        return gate.replicas.batches

    assert [batch for batch in asyncio.run(run()) if 50 in batch] == [[50]]


def test_a_question_whose_last_deadline_passes_in_the_queue_is_not_scored() -> None:
    async def run() -> list[list[int]]:
        gate = Gate()
        service = batcher(gate.replicas)
        full = await gate.fill(service)
        ends = [Deadline.after(seconds) for seconds in (5.0, 8.0)]
        asked = [service.score_batch(question(50), deadline=end) for end in ends]
        results = await asyncio.gather(*asked)
        assert all(isinstance(each.items()[0], DeadlineExceeded) for each in results)
        gate.opened.set()
        await asyncio.gather(*full)
        await service.score_batch(question(60))
        return gate.replicas.batches

    assert 50 not in [i for batch in asyncio.run(run()) for i in batch]


def test_a_refused_call_leaves_nothing_behind() -> None:
    async def run() -> None:
        gate = Gate()
        service = batcher(gate.replicas, max_queued_tokens=8)
        running = []
        for i in range(3):  # two on the replica, one in the queue, which is full then
            asked = question(*range(4 * i, 4 * i + 4))
            running.append(asyncio.create_task(service.score_batch(asked)))
            await gate.taken(min(i + 1, 2))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await service.score_batch(question(77, 0))
        assert refused.value.retry_after_s > 0
        assert (await service.state()).queued_tokens == 8
        gate.opened.set()
        await asyncio.gather(*running)
        assert (await service.state()).queued_tokens == 0
        assert 77 not in [i for batch in gate.replicas.batches for i in batch]
        assert (await service.score_batch(question(77))).rewards_N.tolist() == [77.0]

    asyncio.run(run())


def test_what_a_cancelled_caller_asked_for_never_reaches_a_replica() -> None:
    async def run() -> list[list[int]]:
        gate = Gate()
        service = batcher(gate.replicas)
        kept = await gate.fill(service)
        dropped = asyncio.create_task(service.score_batch(question(50, 51)))
        shared = asyncio.create_task(service.score_batch(question(51)))
        await asyncio.sleep(0)
        dropped.cancel()
        gate.opened.set()
        await asyncio.gather(*kept, shared)
        assert (await service.state()).queued_tokens == 0
        return gate.replicas.batches[2:]

    assert asyncio.run(run()) == [[51]]


def test_past_its_deadline_a_call_is_answered_while_the_replica_still_works() -> None:
    async def run() -> BatchResult:
        gate = Gate()
        service = batcher(gate.replicas)
        return await service.score_batch(question(1, 2), deadline=Deadline.after(0.01))

    result = asyncio.run(run())
    assert all(isinstance(result.errors[i], DeadlineExceeded) for i in range(2))


def test_a_higher_priority_overtakes_what_waits() -> None:
    async def run() -> list[list[int]]:
        gate = Gate()
        service = batcher(gate.replicas)
        tasks = [asyncio.create_task(service.score_batch(question(i, n_tokens=8))) for i in (1, 2)]
        await gate.taken(2)
        tasks.append(asyncio.create_task(service.score_batch(question(3, n_tokens=8))))
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(service.score_batch(question(4, n_tokens=8), priority=1)))
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(*tasks)
        return gate.replicas.batches

    assert asyncio.run(run()) == [[1], [2], [4], [3]]


def test_a_stream_names_every_item_once() -> None:
    async def run() -> dict[int, float]:
        found: dict[int, float] = {}
        async for index, part in batcher(Replicas(answer)).score_stream(question(*range(10))):
            assert not found.keys() & set(index)
            found |= dict(zip(index, part.rewards_N.tolist(), strict=True))
        return found

    assert asyncio.run(run()) == {i: float(i) for i in range(10)}


def test_retries_are_counted_and_running_tokens_return_to_zero() -> None:
    async def run() -> None:
        deaths = iter([ActorDiedError()])

        async def once(ids: list[int]) -> None:
            for error in deaths:
                raise error

        service = batcher(Replicas(once))
        await service.score_batch(question(1, 2))
        assert (await service.totals()).retries == 1
        assert (await service.totals()).items == 2
        assert (await service.state()).running_tokens == 0

    asyncio.run(run())
