"""Lanes with a plain queue in place of the scheduler, over replicas that a test scripts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
from ray.exceptions import ActorDiedError
from support.replicas import Behaviour, Replicas

from cluster.errors import RewardError
from cluster.serving.batching.dispatcher import Dispatcher
from cluster.serving.batching.load_tracker import LoadTracker
from cluster.serving.batching.pending_requests import PendingCall, QueuedSequence, Result
from cluster.serving.metrics import ServingMetrics
from cluster.types import Encoding


class Bench:
    """`results` by the first token of each item."""

    def __init__(
        self,
        replicas: Replicas,
        max_attempts: int = 2,
        batch: int = 4,
        stuck_after_s: float = 60.0,
        wish: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.queue: deque[QueuedSequence] = deque()
        self.results: dict[int, Result] = {}
        self._batch = batch
        self.load_tracker = LoadTracker(ServingMetrics(), token_budget=100, share_prompts=True)
        self.dispatcher = Dispatcher(
            cast(Any, replicas),
            self._take,
            self._settle,
            max_attempts,
            self.load_tracker,
            stuck_after_s,
            wish,
        )

    def add(self, *ids: int) -> list[QueuedSequence]:
        sequences = [sequence(i) for i in ids]
        self.queue.extend(sequences)
        self.dispatcher.wake()
        return sequences

    def _take(self, replica_id: str | None) -> list[QueuedSequence]:
        return [self.queue.popleft() for _ in range(min(self._batch, len(self.queue)))]

    def _settle(self, sequence: QueuedSequence, result: Result) -> None:
        index = int(sequence.encoding.input_ids[0])
        assert index not in self.results, "settled twice"
        self.results[index] = result

    async def run_until(self, n_results: int) -> dict[int, Result]:
        """The results, once there are so many; nothing runs any more."""
        async with self.running():
            await until(lambda: len(self.results) >= n_results)
        assert self.load_tracker.running_tokens == 0
        return self.results

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.dispatcher.run())
        try:
            yield
        finally:
            running.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Poll until true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.0005)


def sequence(index: int) -> QueuedSequence:
    made = QueuedSequence(Encoding(np.array([index], np.int32)), bytes([index]), 0, None, 0.0)
    made.waiters.append((PendingCall(1, None), 0))
    return made


def rewards(results: dict[int, Result]) -> dict[int, float | str]:
    return {
        i: result.code if isinstance(result, RewardError) else result.reward
        for i, result in results.items()
    }


def dies_with(*poison: int, error: Exception | None = None) -> Behaviour:
    async def behave(ids: list[int]) -> None:
        await asyncio.sleep(0)
        if set(ids) & set(poison):
            raise error or ActorDiedError()

    return behave
