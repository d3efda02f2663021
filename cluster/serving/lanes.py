"""Lanes to the replicas: reserve a slot first, cut the batch only then, retry what a death lost.

Late binding: while every replica is busy, waiting sequences stay where priorities, deadlines and
cancellation still work. A batch whose replica died goes to the front and to another replica; only
the batch that was running is blamed, and one that was blamed too often is split in halves until
the one sequence that kills replicas is alone with its ScoringFailed.

Knows neither calls nor the scheduler: `take` cuts a batch, `settle` gets each ticket's result.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from cluster.errors import NotReady, ScoringFailed
from cluster.serving.calls import Result, Ticket
from cluster.serving.retry import LOST
from cluster.serving.wire import BatchResult, ItemResult
from cluster.types import EncodedBatch

logger = logging.getLogger("ray.serve.reward_cluster")


@dataclass(eq=False, slots=True)
class Unit:
    """Tickets that go to a device together. attempts: deaths it is blamed for."""

    tickets: list[Ticket]
    attempts: int = 0


class Lanes:
    """Carries units to replicas, as many at once as the replicas have slots."""

    def __init__(
        self,
        replicas: DeploymentHandle[Any],
        take: Callable[[], list[Ticket]],
        settle: Callable[[Ticket, Result], None],
        max_attempts: int,
    ) -> None:
        self._replicas = replicas.options(method_name="score")
        self._take = take
        self._settle = settle
        self._max_attempts = max_attempts
        self._work = asyncio.Event()
        self._again: deque[Unit] = deque()
        self._on_device: dict[str, list[Unit | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.retries = 0

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
                unit = self._next_unit()
                bound.set_result(None)
                if unit is not None:
                    await self._dispatch(slot, unit)
        except DeploymentUnavailableError as error:
            self._refuse_all(f"no replica can be started: {error}")
            await asyncio.sleep(1)
        except Exception:
            logger.exception("a lane failed; its slot is given back")
            await asyncio.sleep(0.1)
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

    async def _dispatch(self, slot: Any, unit: Unit) -> None:
        """One forward on the reserved slot. Every ticket is settled or back in front afterwards."""
        queue = self._on_device.setdefault(slot.replica_id, [])
        queue.append(unit)
        batch = EncodedBatch.from_encodings([ticket.encoding for ticket in unit.tickets])
        try:
            result: BatchResult = await self._replicas.dispatch(slot, batch)
            assert len(result) == len(unit.tickets), "a replica answers every item of its batch"
        except LOST as error:
            accepted = not isinstance(error, ReplicaUnavailableError)
            self._failed(unit, error, blamed=accepted and queue[0] is unit)
            # Its place stays taken, so that the next in the dead replica's queue is not blamed.
            queue[queue.index(unit)] = None
        except Exception as error:
            self._failed(unit, error, blamed=True)
            queue.remove(unit)
        else:
            queue.remove(unit)
            self._answer(unit, result)
        if not any(queue):
            del self._on_device[slot.replica_id]

    def _answer(self, unit: Unit, result: BatchResult) -> None:
        now = time.monotonic()
        for ticket, item in zip(unit.tickets, result.items(), strict=True):
            if isinstance(item, ItemResult):
                item = item._replace(queue_s=max(0.0, now - ticket.entered - item.forward_s))
            self._settle(ticket, item)

    def _failed(self, unit: Unit, error: Exception, blamed: bool) -> None:
        tickets = _wanted(unit.tickets)
        attempts = unit.attempts + blamed
        logger.warning(
            "a batch of %d is tried again (blamed %d times): %s", len(tickets), attempts, error
        )
        self.retries += 1
        if attempts < self._max_attempts:
            self._again.appendleft(Unit(tickets, attempts))
        elif len(tickets) > 1:
            half = len(tickets) // 2
            for part in (tickets[half:], tickets[:half]):
                self._again.appendleft(Unit(part, self._max_attempts - 1))
        elif tickets:
            self._settle(tickets[0], ScoringFailed(_alone(error, attempts)))
        self.wake()

    def _refuse_all(self, message: str) -> None:
        """Answer everything that waits with NotReady, which clients try again."""
        while (unit := self._next_unit()) is not None:
            for ticket in unit.tickets:
                self._settle(ticket, NotReady(message))


def _wanted(tickets: list[Ticket]) -> list[Ticket]:
    """Without those that nobody waits for any more."""
    return [ticket for ticket in tickets if ticket.waiters]


def _alone(error: Exception, attempts: int) -> str:
    what = "its replica died" if isinstance(error, LOST) else f"{type(error).__name__} was raised"
    return f"{what} each of the {attempts} times this item was scored; the service's log says more"
