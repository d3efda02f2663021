"""The batching deployment: an asyncio shell round the pure scheduler.

A call's items become tickets (`calls`), the scheduler decides who goes next (`scheduler`), lanes
carry batches to replicas (`lanes`). Every admitted item is answered: with its reward, or with the
error that says why not. Knows nothing of models, tokenizers or HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.config import ClusterConfig, EngineConfig
from cluster.serving.calls import Book, Call, Result, Ticket
from cluster.serving.lanes import Lanes
from cluster.serving.wire import BatchResult
from cluster.types import EncodedBatch, ModelInfo


class Batcher:
    """Collects calls into batches for the replicas. Everything runs on one event loop."""

    def __init__(self, replicas: DeploymentHandle[Any], config: ClusterConfig) -> None:
        self._config = config
        self._replicas = replicas
        self._book = Book(config.scheduler.dedupe_s)
        self._scheduler = Scheduler(config)
        self._lanes = Lanes(replicas, self._take, self._settle, config.scheduler.max_attempts)
        self._running: asyncio.Task[None] | None = None

    async def score_batch(
        self, batch: EncodedBatch, priority: int = 0, deadline_s: float | None = None
    ) -> BatchResult:
        """Score all items; a failed item is an error in the result.

        priority: higher is sooner. deadline_s: from now; what is not scored by then is
        DeadlineExceeded. Raises Overloaded where the queue has no room for the call.
        """
        call = self._enter(batch, priority, deadline_s)
        try:
            async for _ in call.parts():
                pass
        finally:
            self._leave(call)
        return BatchResult.from_items(call.finished())

    async def score_stream(
        self, batch: EncodedBatch, priority: int = 0, deadline_s: float | None = None
    ) -> AsyncIterator[tuple[list[int], BatchResult]]:
        """As `score_batch`, in parts (indices, their results) as batches complete."""
        call = self._enter(batch, priority, deadline_s)
        try:
            async for index in call.parts():
                yield index, BatchResult.from_items(call.answered(index))
        finally:
            self._leave(call)

    async def model_info(self) -> ModelInfo:
        """What a replica has loaded; waits until one is ready."""
        info: ModelInfo = await self._replicas.info.remote()
        return info

    async def engine_config(self) -> EngineConfig:
        """Of the app; clients load its tokenizer."""
        return self._config.engine

    def _enter(self, batch: EncodedBatch, priority: int, deadline_s: float | None) -> Call:
        """Register a call and schedule what is new in it; all or, when Overloaded, nothing."""
        now = time.monotonic()
        call = Call(len(batch), None if deadline_s is None else now + deadline_s)
        new = self._book.enter(call, batch.encodings(), priority, now)
        try:
            self._scheduler.add(new, now)
        except Exception:
            self._book.leave(call)
            raise
        if new:
            self._lanes.wake()
        if self._running is None:
            self._running = asyncio.create_task(self._lanes.run())
        return call

    def _leave(self, call: Call) -> None:
        for ticket in self._book.leave(call):
            self._scheduler.cancel(ticket)

    def _take(self) -> list[Ticket]:
        return self._scheduler.take(time.monotonic())

    def _settle(self, ticket: Ticket, result: Result) -> None:
        self._book.settle(ticket, result, time.monotonic())


class Scheduler:
    def __init__(self, config):
        self.q = []
        self.budget = config.engine.token_budget

    def add(self, tickets, now):
        self.q += tickets

    def cancel(self, ticket):
        if ticket in self.q:
            self.q.remove(ticket)

    def take(self, now):
        out, n = [], 0
        while self.q and (not out or n + self.q[0].encoding.n_tokens <= self.budget):
            t = self.q.pop(0)
            n += t.encoding.n_tokens
            out.append(t)
        return out
