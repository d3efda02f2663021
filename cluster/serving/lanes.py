"""Lanes to the replicas: reserve a slot first, cut the batch only then, retry what a death lost.

Late binding: while every replica has two batches, one running and one waiting, sequences stay where
priorities, deadlines and cancellation still work. The lanes count these two themselves: a replica's
`max_ongoing_requests` is larger, since Serve never frees a slot whose batcher died between
reserving and sending, and with a limit of two the second such death would end the service.

A batch whose replica died goes to the front and to another replica, from
now on alone on it, because of two batches on one dead replica nobody knows which killed it. A batch
that fails too often is split in halves until the one sequence that kills replicas is alone with its
ScoringFailed; a sequence that only stood beside it is never blamed.

Knows neither calls nor the scheduler: `take` cuts a batch, `settle` gets each ticket's result.
"""

from __future__ import annotations

import asyncio
import contextlib
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
DEPTH = 2
"""Batches on a replica: one running, one waiting for it."""
LOOK_AGAIN_S = 0.1
"""While all replicas that are known are full: how soon to look for a new one."""


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
        self._freed = asyncio.Event()
        self._again: deque[Unit] = deque()
        self._n_sent: Counter[str] = Counter()
        self._alone: set[str] = set()
        self._draining: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be something to take."""
        self._work.set()

    async def run(self) -> None:
        """While there is work, open one lane after another; each holds a slot of its own."""
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
        """Reserve, cut and send. `bound` is done when the next lane may be opened."""
        self._freed.clear()
        unit: Unit | None = None
        try:
            async with self._replicas.choose_replica(sent=self._loads()) as slot:
                if self._loads().get(slot.replica_id, 0) < DEPTH:
                    unit = self._next_unit(slot.replica_id)
                if unit is not None:
                    bound.set_result(None)
                    await self._dispatch(slot, unit)
        except DeploymentUnavailableError as error:
            self._refuse_all(f"no replica can be started: {error}")
        except Exception:
            logger.exception("a lane failed; its slot is given back")
        finally:
            if unit is None and self._work.is_set():
                await self._wait_for_room()
            if not bound.done():
                bound.set_result(None)

    def _loads(self) -> dict[str, int]:
        """Batches by replica. One that runs a suspect, or empties for one, takes nothing else."""
        closed = [*self._alone]
        if self._draining is not None and self._n_sent[self._draining]:
            closed.append(self._draining)
        return self._n_sent | dict.fromkeys(closed, DEPTH)

    async def _wait_for_room(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._freed.wait(), LOOK_AGAIN_S)

    def _next_unit(self, replica_id: str) -> Unit | None:
        """What to send to this replica, which has room; None where there is nothing for it."""
        while self._again and not _wanted(self._again[0]):
            self._again.popleft()
        if not self._again:
            self._draining = None
        elif not self._again[0].failures:
            return self._again.popleft()
        elif not self._n_sent[replica_id]:
            self._alone.add(replica_id)
            return self._again.popleft()
        elif self._draining is None or not self._n_sent[self._draining]:
            self._draining = replica_id
            return None
        tickets = self._take()
        if not tickets and not self._again:
            self._work.clear()
        return Unit(tickets) if tickets else None

    async def _dispatch(self, slot: Any, unit: Unit) -> None:
        """One forward on the reserved slot. Every ticket is settled or back in front afterwards."""
        alone = slot.replica_id in self._alone
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
            self._alone.discard(slot.replica_id)
            self._freed.set()

    def _answer(self, unit: Unit, result: BatchResult, unique: int) -> None:
        now = time.monotonic()
        for ticket, item in zip(unit.tickets, result.items(), strict=True):
            if isinstance(item, ItemResult):
                item = item._replace(queue_s=max(0.0, now - ticket.entered - item.forward_s))
            self._settle(ticket, item)
        self._accounts.answered(unit.tickets, result, unique)

    def _failed(self, unit: Unit, error: Exception, *, failures: int, certain: bool) -> None:
        """Back to the front; in halves, or with its error, what has certainly failed too often."""
        tickets = _wanted(unit)
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
        tickets = [ticket for unit in self._again for ticket in unit.tickets]
        self._again.clear()
        while more := self._take():
            tickets += more
        for ticket in tickets:
            self._settle(ticket, NotReady(message))


def _wanted(unit: Unit) -> list[Ticket]:
    """Its tickets without those that nobody waits for any more; they leave the unit."""
    unit.tickets = [ticket for ticket in unit.tickets if ticket.waiters]
    return unit.tickets


def _alone(error: Exception, failures: int) -> str:
    what = "its replica died" if isinstance(error, LOST) else f"{_class(error)} was raised"
    return f"{what} whenever this item was scored, {failures} times; the service's log says more"


def _class(error: Exception) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return type(cause).__name__
