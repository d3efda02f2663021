"""Calls by Ray job: the queued work of a finished job is dropped.

A killed trainer leaves calls behind in the client actor, which outlives it: nobody reads their
answers, and later callers would wait behind them. While calls of named jobs run, the batcher asks
every `SWEEP_S` which jobs have finished.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster.errors import Cancelled
from cluster.serving.batching.pending_requests import PendingCall
from cluster.serving.jobs import finished_jobs

logger = logging.getLogger("ray.serve.reward_cluster")
SWEEP_S = 2.0


class JobCalls:
    """The running calls of one batcher. finished: called in a thread, may raise."""

    def __init__(self, finished: Callable[[], set[str]] = finished_jobs) -> None:
        self._finished = finished
        self._calls: dict[str, set[PendingCall]] = {}
        self._sweeping: asyncio.Task[None] | None = None

    @contextmanager
    def running(self, job: str | None, call: PendingCall) -> Iterator[None]:
        """While the block runs, `call` belongs to `job`; calls of None belong to no job and are
        never dropped."""
        if not job:
            yield
            return
        self._calls.setdefault(job, set()).add(call)
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            self._calls[job].discard(call)
            if not self._calls[job]:
                del self._calls[job]

    async def _sweep(self) -> None:
        """Sweep until no call of a named job is left."""
        while self._calls:
            await asyncio.sleep(SWEEP_S)
            try:
                gone = await asyncio.to_thread(self._finished)
            except Exception:
                logger.warning("which jobs have finished is not known now", exc_info=True)
                continue
            for job in gone & self._calls.keys():
                logger.info("dropping %d calls of finished job %s", len(self._calls[job]), job)
                for call in self._calls[job]:
                    call.end(Cancelled("the job that asked has finished"))
        self._sweeping = None
