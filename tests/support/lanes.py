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
from cluster.serving.accounts import Accounts
from cluster.serving.calls import Call, Result, Ticket
from cluster.serving.lanes import Lanes
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
        self.queue: deque[Ticket] = deque()
        self.results: dict[int, Result] = {}
        self._batch = batch
        self.accounts = Accounts(ServingMetrics(), token_budget=100, share_prompts=True)
        self.lanes = Lanes(
            cast(Any, replicas),
            self._take,
            self._settle,
            max_attempts,
            self.accounts,
            stuck_after_s,
            wish,
        )

    def add(self, *ids: int) -> list[Ticket]:
        tickets = [ticket(i) for i in ids]
        self.queue.extend(tickets)
        self.lanes.wake()
        return tickets

    def _take(self, replica_id: str | None) -> list[Ticket]:
        return [self.queue.popleft() for _ in range(min(self._batch, len(self.queue)))]

    def _settle(self, ticket: Ticket, result: Result) -> None:
        index = int(ticket.encoding.input_ids[0])
        assert index not in self.results, "settled twice"
        self.results[index] = result

    async def run_until(self, n_results: int) -> dict[int, Result]:
        """The results, once there are so many; nothing runs any more."""
        async with self.running():
            await until(lambda: len(self.results) >= n_results)
        assert self.accounts.running_tokens == 0
        return self.results

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        lanes = asyncio.create_task(self.lanes.run())
        try:
            yield
        finally:
            lanes.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Poll until true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def ticket(index: int) -> Ticket:
    made = Ticket(Encoding(np.array([index], np.int32)), bytes([index]), 0, None, 0.0)
    made.waiters.append((Call(1, None), 0))
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
