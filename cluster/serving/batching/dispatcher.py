"""Dispatcher: chooses a replica, then cuts a batch for it (late binding); retries lost batches.

Late binding: while every replica has two batches, one running and one waiting, sequences stay where
priorities, deadlines and cancellation still work. Nothing remote is awaited before a batch is sent,
so no replica can delay another one.

A lost batch goes to the front of the queue and to another replica; a suspect runs alone
(`dispatch_queue`). A batch whose replica is silent or late is also sent to another one
(`in_flight`): scoring is pure, so the first answer wins and the second is dropped. Invariant: every
sequence is settled exactly once.

Knows neither calls nor the scheduler: `take` cuts a batch, `settle` gets each sequence's result.
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
from cluster.serving.batching.dispatch_queue import DispatchQueue, DispatchUnit, Poison
from cluster.serving.batching.failure_attribution import NotBegun, given_up, is_deadly, judge
from cluster.serving.batching.in_flight import InFlight
from cluster.serving.batching.load_tracker import LoadTracker
from cluster.serving.batching.pending_requests import QueuedSequence, Result
from cluster.serving.batching.retry import being_cancelled, unwrap_ray_error
from cluster.serving.protocol import BatchResult, ItemResult, from_bytes, to_bytes
from cluster.types import EncodedBatch

logger = logging.getLogger("ray.serve.reward_cluster")
LOOK_AGAIN_S = 0.1
"""While all known replicas are full: seconds until the next look for a new one."""


class Dispatcher:
    """Sends units to replicas, as many at once as the replicas have room for.

    sent_at: when a batch was last sent, or the start. moved_at: when work last arrived while
    nothing was under way, left or came back. Both on `time.monotonic`.
    """

    def __init__(
        self,
        replicas: DeploymentHandle[Any],
        take: Callable[[str | None], list[QueuedSequence]],
        settle: Callable[[QueuedSequence, Result], None],
        max_attempts: int,
        load_tracker: LoadTracker,
        stuck_after_s: float,
        wish: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """take: cuts a batch for a replica, or for none.

        stuck_after_s: the longest that a batch may take before another replica is asked for it.
        wish: the replicas to prefer for the next batch among equally loaded ones.
        """
        self.sent_at = self.moved_at = time.monotonic()
        self._score = replicas.options(method_name="score_bytes")
        self._hold = replicas.options(method_name="hold")
        self._take = take
        self._wish = wish
        self._settle = settle
        self._load_tracker = load_tracker
        self._in_flight = InFlight(self._ask_elsewhere, load_tracker.speed, stuck_after_s)
        self.pool = self._in_flight.pool
        self._line = DispatchQueue(max_attempts)
        self._poison = Poison()
        self._work = asyncio.Event()
        self._freed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Tell it that there may be work."""
        if not self._work.is_set():
            self.moved_at = time.monotonic()
        self._work.set()

    async def run(self) -> None:
        """While there is work, open one lane after another; each carries one batch."""
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
            self.pool.close()

    async def _lane(self, bound: asyncio.Future[None]) -> None:
        """Choose, cut and send. `bound` is done when the next lane may be opened."""
        self._freed.clear()
        unit: DispatchUnit | None = None
        try:
            self.pool.wish = self._wish()
            async with self._score.choose_replica(pool=self.pool) as slot:
                if self.pool.has_room(slot.replica_id):
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

    def _next_unit(self, replica_id: str) -> DispatchUnit | None:
        """What to send to this replica, which has room; None if there is nothing for it."""
        unit = self._line.next_for(replica_id)
        if unit is None:
            sequences = self._take(replica_id)
            if not sequences and not self._line:
                self._work.clear()
            sequences = [sequence for sequence in sequences if not self._is_poison(sequence)]
            unit = DispatchUnit(sequences) if sequences else None
        return unit

    def _is_poison(self, sequence: QueuedSequence) -> bool:
        error = self._poison.error(sequence.key, time.monotonic())
        if error is not None:
            self._settle(sequence, error)
        return error is not None

    async def _carry(self, slot: Any, unit: DispatchUnit) -> None:
        """One forward of `unit`. Afterwards every sequence is settled or queued again."""
        replica_id, sequences, suspect = slot.replica_id, list(unit.sequences), unit.failures > 0
        self._in_flight.begin(replica_id, unit, alone=suspect)
        self.sent_at = self.moved_at = time.monotonic()
        unique = self._load_tracker.sent(sequences)
        lost: BaseException | None = None
        try:
            batch = EncodedBatch.from_encodings([sequence.encoding for sequence in sequences])
            send = self._send_alone if suspect else self._send
            result: BatchResult = from_bytes(await send(slot, to_bytes(batch), unit))
            assert len(result) == len(sequences), "a replica answers every item of its batch"
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and being_cancelled():
                raise
            lost = error
        finally:
            self._in_flight.end(replica_id, unit, alone=suspect)
            self._load_tracker.back(unique)
            self.moved_at = time.monotonic()
            self._freed.set()
        if lost is not None:
            self._lost(unit, sequences, lost, alone=suspect)
        elif not unit.done:
            unit.done = True
            self._answer(sequences, result)
            self._load_tracker.answered(sequences, result, unique)

    async def _send(self, slot: Any, batch: bytes, unit: DispatchUnit) -> Any:
        """Send to the replica of `slot`, whatever else it holds."""
        return await self._in_flight.answer(
            self._score.dispatch(slot, batch), slot.replica_id, unit
        )

    async def _send_alone(self, slot: Any, batch: bytes, unit: DispatchUnit) -> Any:
        """Send to the replica of `slot` once it holds nothing else from any batcher."""
        try:
            token = await self._call(self._hold, slot.replica_id)
        except Exception as error:
            raise NotBegun(str(error)) from error
        sending = self._call(self._score, slot.replica_id, batch, token)
        return await self._in_flight.answer(sending, slot.replica_id, unit)

    async def _call(self, method: Any, replica_id: str, *args: Any) -> Any:
        """Call a method of exactly that replica. Raises ReplicaUnavailableError if it is gone."""
        async with method.choose_replica(only=replica_id) as slot:
            if slot.replica_id != replica_id:
                raise ReplicaUnavailableError(f"replica {replica_id} is gone")
            return await method.dispatch(slot, *args)

    def _answer(self, sequences: Sequence[QueuedSequence], result: BatchResult) -> None:
        now = time.monotonic()
        for sequence, item in zip(sequences, result.items(), strict=True):
            if isinstance(item, ItemResult):
                item = item._replace(queue_s=max(0.0, now - sequence.entered - result.wall_s))
            self._settle(sequence, item)

    def _lost(
        self,
        unit: DispatchUnit,
        sequences: Sequence[QueuedSequence],
        error: BaseException,
        alone: bool,
    ) -> None:
        """Retry the lost unit, whole or in halves, or give it up; an error that the replica itself
        returned for the batch is its answer."""
        if isinstance(refusal := unwrap_ray_error(error), RewardError):
            self._refuse(unit, sequences, refusal)
            return
        verdict = judge(error, alone)
        unit.failures += verdict.failed
        logger.warning("%d items are lost (failure %d): %s", len(sequences), unit.failures, error)
        self._load_tracker.lost()
        sequence = self._line.failed(unit, verdict.certain)
        if sequence is not None:
            failed = given_up(error, unit.failures)
            if is_deadly(error):
                self._poison.add(sequence.key, failed, time.monotonic())
            self._settle(sequence, failed)
        self.wake()

    def _ask_elsewhere(self, unit: DispatchUnit) -> None:
        self._load_tracker.lost()
        self._line.put(unit)
        self.wake()
        self._freed.set()

    def _refuse(
        self, unit: DispatchUnit, sequences: Sequence[QueuedSequence], error: RewardError
    ) -> None:
        if not unit.done:
            unit.done = True
            for sequence in sequences:
                self._settle(sequence, error)

    def _refuse_all(self, message: str) -> None:
        """Answer everything that waits with NotReady, which clients retry."""
        sequences = self._line.clear()
        while more := self._take(None):
            sequences += more
        for sequence in sequences:
            self._settle(sequence, NotReady(message))
