"""Lanes to the replicas: choose a replica first, cut the batch only then, retry what was lost.

Late binding: while every replica has two batches, one running and one waiting, sequences stay where
priorities, deadlines and cancellation still work. Nothing remote is awaited before a batch is sent,
so no replica can hold up another one's lane.

A batch that is lost goes to the front and to another replica; a suspect runs alone (`units`). One
whose replica is silent or late is asked again elsewhere (`in_flight`): scoring is pure, so the
first answer wins and the second is dropped. Invariant: every ticket is settled exactly once.

Knows neither calls nor the scheduler: `take` cuts a batch, `settle` gets each ticket's result.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextvars import Context
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from cluster.errors import NotReady, RewardError
from cluster.serving.accounts import Accounts
from cluster.serving.blame import NotBegun, given_up, is_deadly, judge
from cluster.serving.calls import Result, Ticket
from cluster.serving.in_flight import InFlight
from cluster.serving.retry import plain
from cluster.serving.units import Line, Poison, Unit
from cluster.serving.wire import BatchResult, ItemResult
from cluster.types import EncodedBatch

logger = logging.getLogger("ray.serve.reward_cluster")
LOOK_AGAIN_S = 0.1
"""While all replicas that are known are full: how soon to look for a new one."""


class Lanes:
    """Carries units to replicas, as many at once as the replicas have room for.

    sent_at: when a batch was last sent, or the start. moved_at: when work last arrived at empty
    lanes, left or came back. Both on `time.monotonic`.
    """

    def __init__(
        self,
        replicas: DeploymentHandle[Any],
        take: Callable[[str | None], list[Ticket]],
        settle: Callable[[Ticket, Result], None],
        max_attempts: int,
        accounts: Accounts,
        stuck_after_s: float,
        wish: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """take: cuts a batch for a replica, or for none.

        stuck_after_s: the longest that a batch may take before others are asked for it.
        wish: replicas that are best for what is next, among those that are loaded alike.
        """
        self.sent_at = self.moved_at = time.monotonic()
        self._score = replicas.options(method_name="score")
        self._hold = replicas.options(method_name="hold")
        self._take = take
        self._wish = wish
        self._settle = settle
        self._accounts = accounts
        self._in_flight = InFlight(self._ask_elsewhere, accounts.speed, stuck_after_s)
        self.roster = self._in_flight.roster
        self._line = Line(max_attempts)
        self._poison = Poison()
        self._work = asyncio.Event()
        self._freed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be something to take."""
        if not self._work.is_set():
            self.moved_at = time.monotonic()
        self._work.set()

    async def run(self) -> None:
        """While there is work, open one lane after another; each holds a batch of its own."""
        try:
            while True:
                await self._work.wait()
                bound = asyncio.get_running_loop().create_future()
                # An empty context: calls made inside one Serve request share its id, which routers
                # use as the key of a pending choice.
                task = asyncio.create_task(self._lane(bound), context=Context())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await bound
        finally:
            self.roster.close()

    async def _lane(self, bound: asyncio.Future[None]) -> None:
        """Choose, cut and send. `bound` is done when the next lane may be opened."""
        self._freed.clear()
        unit: Unit | None = None
        try:
            self.roster.wish = self._wish()
            async with self._score.choose_replica(roster=self.roster) as slot:
                if self.roster.has_room(slot.replica_id):
                    unit = self._next_unit(slot.replica_id)
                if unit is not None:
                    bound.set_result(None)
                    await self._carry(slot, unit)
        except DeploymentUnavailableError as error:
            self._refuse_all(f"no replica can be started: {error}")
        except Exception:
            logger.exception("a lane failed")
        finally:
            if unit is None and self._work.is_set():
                await self._wait_for_room()
            if not bound.done():
                bound.set_result(None)

    async def _wait_for_room(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._freed.wait(), LOOK_AGAIN_S)

    def _next_unit(self, replica_id: str) -> Unit | None:
        """What to send to this replica, which has room; None where there is nothing for it."""
        unit = self._line.next_for(replica_id)
        if unit is None:
            tickets = self._take(replica_id)
            if not tickets and not self._line:
                self._work.clear()
            tickets = [ticket for ticket in tickets if not self._is_poison(ticket)]
            unit = Unit(tickets) if tickets else None
        return unit

    def _is_poison(self, ticket: Ticket) -> bool:
        error = self._poison.error(ticket.key, time.monotonic())
        if error is not None:
            self._settle(ticket, error)
        return error is not None

    async def _carry(self, slot: Any, unit: Unit) -> None:
        """One forward of `unit`. Every ticket is settled or in the line afterwards."""
        replica_id, tickets, suspect = slot.replica_id, list(unit.tickets), unit.failures > 0
        self._in_flight.begin(replica_id, unit, alone=suspect)
        self.sent_at = self.moved_at = time.monotonic()
        unique = self._accounts.sent(tickets)
        lost: BaseException | None = None
        try:
            batch = EncodedBatch.from_encodings([ticket.encoding for ticket in tickets])
            send = self._send_alone if suspect else self._send
            result: BatchResult = await send(slot, batch, unit)
            assert len(result) == len(tickets), "a replica answers every item of its batch"
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled(error):
                raise
            lost = error
        finally:
            self._in_flight.end(replica_id, unit, alone=suspect)
            self._accounts.back(unique)
            self.moved_at = time.monotonic()
            self._freed.set()
        if lost is not None:
            self._lost(unit, tickets, lost, alone=suspect)
        elif not unit.done:
            unit.done = True
            self._answer(tickets, result)
            self._accounts.answered(tickets, result, unique)

    async def _send(self, slot: Any, batch: EncodedBatch, unit: Unit) -> Any:
        """To the replica of `slot`, whatever else it holds."""
        return await self._in_flight.answer(
            self._score.dispatch(slot, batch), slot.replica_id, unit
        )

    async def _send_alone(self, slot: Any, batch: EncodedBatch, unit: Unit) -> Any:
        """To the replica of `slot`, once it holds nothing else from any batcher."""
        try:
            token = await self._call(self._hold, slot.replica_id)
        except Exception as error:
            raise NotBegun(str(error)) from error
        sending = self._call(self._score, slot.replica_id, batch, token)
        return await self._in_flight.answer(sending, slot.replica_id, unit)

    async def _call(self, method: Any, replica_id: str, *args: Any) -> Any:
        """A method of that very replica. Raises ReplicaUnavailableError where it is gone."""
        async with method.choose_replica(only=replica_id) as slot:
            if slot.replica_id != replica_id:
                raise ReplicaUnavailableError(f"replica {replica_id} is gone")
            return await method.dispatch(slot, *args)

    def _answer(self, tickets: Sequence[Ticket], result: BatchResult) -> None:
        now = time.monotonic()
        for ticket, item in zip(tickets, result.items(), strict=True):
            if isinstance(item, ItemResult):
                item = item._replace(queue_s=max(0.0, now - ticket.entered - result.wall_s))
            self._settle(ticket, item)

    def _lost(
        self, unit: Unit, tickets: Sequence[Ticket], error: BaseException, alone: bool
    ) -> None:
        """Again, in halves, or given up; a replica's own error for the batch is its answer."""
        if isinstance(refusal := plain(error), RewardError):
            self._refuse(unit, tickets, refusal)
            return
        verdict = judge(error, alone)
        unit.failures += verdict.failed
        logger.warning("%d items are lost (failure %d): %s", len(tickets), unit.failures, error)
        self._accounts.lost()
        ticket = self._line.failed(unit, verdict.certain)
        if ticket is not None:
            failed = given_up(error, unit.failures)
            if is_deadly(error):
                self._poison.add(ticket.key, failed, time.monotonic())
            self._settle(ticket, failed)
        self.wake()

    def _ask_elsewhere(self, unit: Unit) -> None:
        self._accounts.lost()
        self._line.put(unit)
        self.wake()
        self._freed.set()

    def _refuse(self, unit: Unit, tickets: Sequence[Ticket], error: RewardError) -> None:
        if not unit.done:
            unit.done = True
            for ticket in tickets:
                self._settle(ticket, error)

    def _refuse_all(self, message: str) -> None:
        """Answer everything that waits with NotReady, which clients try again."""
        tickets = self._line.clear()
        while more := self._take(None):
            tickets += more
        for ticket in tickets:
            self._settle(ticket, NotReady(message))


def _is_cancelled(error: BaseException) -> bool:
    """Whether this task itself is being cancelled; Serve raises the same for a cancelled call."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
