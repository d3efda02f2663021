"""Lanes to the replicas: reserve a slot first, cut the batch only then, retry what a death lost.

Late binding: while every replica is busy, waiting sequences stay where priorities, deadlines and
cancellation still work. A batch whose replica died goes to the front and to another replica, from
now on alone on it, because of two batches on one dead replica nobody knows which killed it. A batch
that fails too often is split in halves until the one sequence that kills replicas is alone with its
ScoringFailed; a sequence that only stood beside it is never blamed.

Knows neither calls nor the scheduler: `take` cuts a batch, `settle` gets each ticket's result.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from cluster.errors import NotReady, ScoringFailed
from cluster.serving.accounts import Accounts
from cluster.serving.calls import Result, Ticket
from cluster.serving.retry import LOST
from cluster.serving.wire import BatchResult, ItemResult
from cluster.types import EncodedBatch

logger = logging.getLogger("ray.serve.reward_cluster")
PAUSE_S = 0.005


@dataclass(eq=False, slots=True)
class Unit:
    """Tickets that go to a device together. failures: how often they did not come back."""

    tickets: list[Ticket]
    failures: int = 0


class Lanes:
    """Carries units to replicas, as many at once as the replicas have slots."""

    def __init__(
        self,
        replicas: DeploymentHandle[Any],
        take: Callable[[], list[Ticket]],
        settle: Callable[[Ticket, Result], None],
        max_attempts: int,
        accounts: Accounts,
    ) -> None:
        self._replicas = replicas.options(method_name="score")
        self._take = take
        self._settle = settle
        self._max_attempts = max_attempts
        self._accounts = accounts
        self._work = asyncio.Event()
        self._again: deque[Unit] = deque()
        self._n_sent: Counter[str] = Counter()
        self._alone: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be something to take."""
        self._work.set()

    async def run(self) -> None:
        """While there is work, open one lane after another; each waits for a slot of its own."""
        while True:
            await self._work.wait()
            bound = asyncio.get_running_loop().create_future()
            # An empty context: calls made inside one Serve request share its id, which routers
            # use as the key of a pending reservation.
            task = asyncio.create_task(self._lane(bound), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await bound

    async def _lane(self, bound: asyncio.Future[None]) -> None:
        try:
            async with self._replicas.choose_replica() as slot:
                if slot.replica_id in self._alone:
                    await asyncio.sleep(PAUSE_S)
                    return
                unit = self._next_unit()
                bound.set_result(None)
                if unit is not None and unit.failures:
                    await self._dispatch_alone(slot, unit)
                elif unit is not None:
                    await self._dispatch(slot, unit)
        except DeploymentUnavailableError as error:
            self._refuse_all(f"no replica can be started: {error}")
            await asyncio.sleep(1)
        except Exception:
            logger.exception("a lane failed; its slot is given back")
            await asyncio.sleep(PAUSE_S)
        finally:
            if not bound.done():
                bound.set_result(None)

    def _next_unit(self) -> Unit | None:
        while self._again:
            unit = self._again.popleft()
            unit.tickets = _wanted(unit.tickets)
            if unit.tickets:
                return unit
        tickets = self._take()
        if not tickets:
            self._work.clear()
            return None
        return Unit(tickets)

    async def _dispatch_alone(self, slot: Any, unit: Unit) -> None:
        """As `_dispatch`, with nothing else of ours on the replica, so that blame is certain."""
        self._alone.add(slot.replica_id)
        try:
            while self._n_sent[slot.replica_id]:
                await asyncio.sleep(PAUSE_S)
            await self._dispatch(slot, unit, alone=True)
        finally:
            self._alone.discard(slot.replica_id)

    async def _dispatch(self, slot: Any, unit: Unit, alone: bool = False) -> None:
        """One forward on the reserved slot. Every ticket is settled or back in front afterwards."""
        self._n_sent[slot.replica_id] += 1
        unique = self._accounts.sent(unit.tickets)
        try:
            batch = EncodedBatch.from_encodings([ticket.encoding for ticket in unit.tickets])
            result: BatchResult = await self._replicas.dispatch(slot, batch)
            assert len(result) == len(unit.tickets), "a replica answers every item of its batch"
        except ReplicaUnavailableError as error:
            self._failed(unit, error, failures=unit.failures, certain=False)
        except LOST as error:
            self._failed(unit, error, failures=unit.failures + 1, certain=alone)
        except Exception as error:
            self._failed(unit, error, failures=unit.failures + 1, certain=True)
        else:
            self._answer(unit, result, unique)
        finally:
            self._accounts.back(unique)
            self._n_sent -= Counter((slot.replica_id,))

    def _answer(self, unit: Unit, result: BatchResult, unique: int) -> None:
        now = time.monotonic()
        for ticket, item in zip(unit.tickets, result.items(), strict=True):
            if isinstance(item, ItemResult):
                item = item._replace(queue_s=max(0.0, now - ticket.entered - item.forward_s))
            self._settle(ticket, item)
        self._accounts.answered(unit.tickets, result, unique)

    def _failed(self, unit: Unit, error: Exception, *, failures: int, certain: bool) -> None:
        """Back to the front; in halves, or with its error, what has certainly failed too often."""
        tickets = _wanted(unit.tickets)
        logger.warning("%d items are tried again (failure %d): %s", len(tickets), failures, error)
        self._accounts.lost()
        if failures < self._max_attempts or not certain:
            self._again.appendleft(Unit(tickets, failures))
        elif len(tickets) > 1:
            half = len(tickets) // 2
            for part in (tickets[half:], tickets[:half]):
                self._again.appendleft(Unit(part, max(1, self._max_attempts - 1)))
        elif tickets:
            self._settle(tickets[0], ScoringFailed(_alone(error, failures)))
        self.wake()

    def _refuse_all(self, message: str) -> None:
        """Answer everything that waits with NotReady, which clients try again."""
        while (unit := self._next_unit()) is not None:
            for ticket in unit.tickets:
                self._settle(ticket, NotReady(message))


def _wanted(tickets: list[Ticket]) -> list[Ticket]:
    """Without those that nobody waits for any more."""
    return [ticket for ticket in tickets if ticket.waiters]


def _alone(error: Exception, failures: int) -> str:
    what = "its replica died" if isinstance(error, LOST) else f"{_class(error)} was raised"
    return f"{what} whenever this item was scored, {failures} times; the service's log says more"


def _class(error: Exception) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return type(cause).__name__
