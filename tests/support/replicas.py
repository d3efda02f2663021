"""A handle of replicas that a test scripts: who answers, who dies. No Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from ray.serve.exceptions import DeploymentUnavailableError

from cluster.serving.wire import BatchResult, ItemResult, Source
from cluster.types import EncodedBatch

SOURCE = Source("m", "r1", "invariant")
Behaviour = Callable[[list[int]], Awaitable[None]]


@dataclass
class Slot:
    replica_id: str


class Replicas:
    """A handle of some replicas; `behave` runs in every dispatch and may raise."""

    def __init__(self, behave: Behaviour, ids: Sequence[str] = ("a",)) -> None:
        self._behave = behave
        self._ids = ids
        self.batches: list[list[int]] = []
        self.unavailable = False

    def options(self, **_: Any) -> Replicas:
        return self

    @asynccontextmanager
    async def choose_replica(self, sent: dict[str, int]) -> AsyncIterator[Slot]:
        if self.unavailable:
            raise DeploymentUnavailableError(cast(Any, "Replica"))
        await asyncio.sleep(0)
        yield Slot(min(self._ids, key=lambda name: sent.get(name, 0)))

    async def dispatch(self, slot: Slot, batch: EncodedBatch) -> BatchResult:
        ids = [int(e.input_ids[0]) for e in batch.encodings()]
        self.batches.append(ids)
        await self._behave(ids)
        return BatchResult.from_items([ItemResult(float(i), 0.0, 0.0, SOURCE) for i in ids])


async def answer(ids: list[int]) -> None:
    """A replica that is well."""
    await asyncio.sleep(0)
