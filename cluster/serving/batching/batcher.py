"""Batcher deployment: an asyncio shell around the pure scheduler.

A call's items get into the queue (`admission`) as sequences (`pending_requests`), the scheduler
decides who goes next (`scheduler`), the dispatcher carries batches to replicas (`dispatcher`).
Every admitted item is answered, with its reward or with an error that says why there is none. Knows
nothing of models, tokenizers or HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.config import ClusterConfig
from cluster.errors import DeadlineExceeded, RewardError
from cluster.serving.batching.admission import Admission
from cluster.serving.batching.dispatcher import Dispatcher
from cluster.serving.batching.job_calls import JobCalls
from cluster.serving.batching.load_tracker import LoadTracker
from cluster.serving.batching.pending_requests import (
    PendingCall,
    QueuedSequence,
    RequestTable,
    Result,
)
from cluster.serving.batching.prefix_affinity import PrefixAffinity
from cluster.serving.batching.queue_state import QueueState, autoscaling_stats
from cluster.serving.batching.scheduler import Scheduler
from cluster.serving.batching.watchdog import Watchdog
from cluster.serving.call_options import check_call_options
from cluster.serving.deadline import Deadline, receive
from cluster.serving.health_probe import ModelProbe
from cluster.serving.metrics import ServingMetrics, Totals
from cluster.serving.protocol import BatchResult, ServedModel, Source, from_bytes, to_bytes
from cluster.serving.ray_metrics import RaySink
from cluster.types import EncodedBatch, ModelInfo

STALLED_S = 30.0
"""If work waits beside an idle replica and nothing is sent for this many seconds, the batcher is
replaced."""


class Batcher:
    """Collects calls into batches for the replicas. Everything runs on one event loop."""

    def __init__(self, replicas: DeploymentHandle[Any], config: ClusterConfig) -> None:
        self._config = config
        self._probe = ModelProbe(replicas)
        share_prompts = config.engine.numerics != "reference"
        self._sink = RaySink()
        self._metrics = ServingMetrics(self._sink)
        self._table = RequestTable(config.scheduler.dedupe_s)
        self._scheduler: Scheduler[QueuedSequence] = Scheduler(
            config.scheduler, config.engine.token_budget, share_prompts
        )
        self._admission = Admission(config.scheduler, self._scheduler, self._table)
        self._jobs = JobCalls()
        self._load_tracker = LoadTracker(self._metrics, config.engine.token_budget, share_prompts)
        keeps = share_prompts and config.engine.prompt_cache_mib != 0
        self._homes = PrefixAffinity(keeps)
        self._dispatcher = Dispatcher(
            replicas,
            self._take,
            self._settle,
            config.scheduler.max_attempts,
            self._load_tracker,
            config.replica.stuck_after_s,
            self._wish,
        )
        self._watchdog = Watchdog(STALLED_S, time.monotonic())
        self._running: asyncio.Task[None] | None = None

    async def score_batch(
        self,
        batch: EncodedBatch,
        priority: int = 0,
        deadline: Deadline | float | None = None,
        wait: bool = False,
        job: str | None = None,
    ) -> BatchResult:
        """Score all items; a failed item is an error in the result.

        priority: higher is sooner. deadline: see `cluster.serving.deadline`; what is not scored by
        then is DeadlineExceeded. wait: wait in line while the queue has no room for the call;
        otherwise Overloaded is raised. job: the caller's Ray job, whose calls are dropped when it
        ends. Raises InvalidInput for an invalid priority or deadline.
        """
        call = self._enter(batch, priority, deadline, wait)
        try:
            with self._jobs.running(job, call):
                async for _ in call.parts():
                    pass
        finally:
            self._leave(call)
        return BatchResult.from_items(call.finished())

    async def score_bytes(self, ask: bytes) -> bytes:
        """`score_batch` for another process: its arguments and its result as `bytes`."""
        return to_bytes(await self.score_batch(*from_bytes(ask)))

    async def score_stream(
        self,
        batch: EncodedBatch,
        priority: int = 0,
        deadline: Deadline | float | None = None,
        wait: bool = False,
        job: str | None = None,
    ) -> AsyncIterator[tuple[list[int], BatchResult]]:
        """As `score_batch`, in parts (indices, their results) as batches complete."""
        call = self._enter(batch, priority, deadline, wait)
        try:
            with self._jobs.running(job, call):
                async for index in call.parts():
                    yield index, BatchResult.from_items(call.answered(index))
        finally:
            self._leave(call)

    async def model_info(self) -> ModelInfo:
        """What a replica has loaded. Raises NotReady, which callers retry, if none answers."""
        return await self._probe.info()

    async def state(self) -> QueueState:
        """What waits and runs now."""
        now = time.monotonic()
        return QueueState(
            queued_items=len(self._scheduler),
            queued_tokens=self._scheduler.queued_tokens,
            running_tokens=self._load_tracker.running_tokens,
            replica_tokens_per_s=self._load_tracker.rate.tokens_per_s,
            oldest_s=self._table.oldest_s(now),
            since_dispatch_s=now - self._dispatcher.sent_at,
            struck=tuple(self._dispatcher.pool.struck()),
            waiting_tokens=self._admission.waiting_tokens,
        )

    async def totals(self) -> Totals:
        """Totals since this process started."""
        return self._metrics.totals

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve; `cluster.serving.autoscaling` reads it."""
        return autoscaling_stats(await self.state(), self._metrics.totals.forward_s)

    async def check_health(self) -> None:
        """Called by Serve every second; raises if this process should be replaced."""
        if self._running is not None and self._running.done():
            raise RuntimeError("the dispatcher has ended; nothing can be scored any longer")
        state, pool = await self.state(), self._dispatcher.pool
        self._metrics.queue(state.queued_items, state.queued_tokens)
        self._metrics.progress(state.oldest_s, state.since_dispatch_s, len(state.struck))
        self._sink.repeat_gauges()
        could_move = state.queued_items > 0 and bool(pool.idle())
        stalled = self._watchdog.stalled(time.monotonic(), could_move, self._dispatcher.moved_at)
        if stalled and await pool.any_idle_answers():
            raise RuntimeError(
                f"{state.queued_items} items wait beside an idle replica and none was sent for "
                f"{STALLED_S:g} s"
            )

    async def served(self) -> ServedModel:
        """What a replica serves, for clients to load its tokenizer. Raises NotReady if none
        answers."""
        return await self._probe.served()

    async def weights_loaded(self, loads: Sequence[str], source: Source) -> None:
        """Called by a replica before the first reward of new weights. loads: see `Book.loaded`."""
        self._table.loaded(loads, source)

    def _enter(
        self, batch: EncodedBatch, priority: int, deadline: Deadline | float | None, wait: bool
    ) -> PendingCall:
        """Register a call and admit its new sequences; on any error nothing of it is kept."""
        check_call_options(priority)
        now = time.monotonic()
        call = PendingCall(len(batch), receive(deadline), now)
        items = dict(enumerate(batch.encodings()))
        tokens_per_s = self._load_tracker.drain_tokens_per_s(max(1, self._dispatcher.pool.n_busy()))
        try:
            self._admission.enter(call, items, priority, now, wait=wait, tokens_per_s=tokens_per_s)
        except RewardError as error:
            self._metrics.error(error.code)
            raise
        self._move()
        if self._running is None:
            self._running = asyncio.create_task(self._dispatcher.run())
        return call

    def _leave(self, call: PendingCall) -> None:
        self._admission.leave(call)
        self._admission.refill(time.monotonic())
        self._move()

    def _move(self) -> None:
        """The queue may have changed: admit what now fits and wake the dispatcher."""
        if len(self._scheduler):
            self._dispatcher.wake()

    def _wish(self) -> Collection[str]:
        """The replicas that hold the next request's prompt."""
        first = self._scheduler.first()
        return () if first is None else self._homes.of(first.encoding)

    def _take(self, replica_id: str | None) -> list[QueuedSequence]:
        """Cut the next batch for that replica, without what has expired."""
        now = time.monotonic()
        for sequence in self._scheduler.expire(now):
            self._settle(sequence, DeadlineExceeded("the deadline passed before a device was free"))
        self._admission.refill(now)
        held = () if replica_id is None else self._homes.held_by(replica_id)
        batch = self._scheduler.take(held)
        for sequence in batch:
            sequence.sent = now
        if replica_id is not None:
            self._homes.sent(replica_id, [sequence.encoding for sequence in batch])
        self._admission.refill(now)
        return batch

    def _settle(self, sequence: QueuedSequence, result: Result) -> None:
        if isinstance(result, RewardError):
            self._metrics.error(result.code)
        self._table.settle(sequence, result, time.monotonic())
