"""A handle of replicas that a test scripts: who answers, who dies, who is frozen. No Ray."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from ray.serve.exceptions import DeploymentUnavailableError

from cluster.serving.protocol import BatchResult, ItemResult, Source, from_bytes, to_bytes
from cluster.serving.replica.exclusive_access import ExclusiveAccess
from cluster.types import EncodedBatch

SOURCE = Source("m", "r1", "invariant")
Behaviour = Callable[[list[int]], Awaitable[None]]


@dataclass
class Slot:
    replica_id: str


@dataclass
class Name:
    unique_id: str


class Known:
    """A candidate as Serve's router hands it out."""

    def __init__(self, name: str, replicas: Replicas) -> None:
        self.replica_id = Name(name)
        self._replicas = replicas

    async def ping(self) -> None:
        await self._replicas.thawed(self.replica_id.unique_id)


class Replicas:
    """A handle of some replicas; `behave` runs in every dispatch and may raise.

    frozen: replicas that answer nothing, not even a ping. where: who got each of `batches`.
    """

    def __init__(self, behave: Behaviour, ids: Sequence[str] = ("a",)) -> None:
        self._behave = behave
        self.ids = ids
        self.uses: dict[str, ExclusiveAccess] = defaultdict(ExclusiveAccess)
        self.batches: list[list[int]] = []
        self.where: list[str] = []
        self.frozen: set[str] = set()
        self.unavailable = False

    def options(self, method_name: str) -> Any:
        return Holds(self) if method_name == "hold" else self

    @asynccontextmanager
    async def choose_replica(
        self, pool: Any = None, only: str | None = None
    ) -> AsyncIterator[Slot]:
        if self.unavailable:
            raise DeploymentUnavailableError(cast(Any, "Replica"))
        await asyncio.sleep(0)
        if pool is not None:
            yield Slot(pool.first([Known(name, self) for name in self.ids]).replica_id.unique_id)
        else:
            yield Slot(only if only is not None and only in self.ids else self.ids[0])

    async def dispatch(self, slot: Slot, asked: bytes, hold: str | None = None) -> bytes:
        batch: EncodedBatch = from_bytes(asked)
        ids, use = [int(e.input_ids[0]) for e in batch.encodings()], self.uses[slot.replica_id]
        self.batches.append(ids)
        self.where.append(slot.replica_id)
        await self.thawed(slot.replica_id)
        async with use.shared() if hold is None else use.alone(hold):
            await self._behave(ids)
        items = [ItemResult(float(i), 0.0, 0.0, SOURCE) for i in ids]
        return to_bytes(replace(BatchResult.from_items(items), wall_s=0.01))

    async def thawed(self, name: str) -> None:
        while name in self.frozen:
            await asyncio.sleep(0.01)


class Holds:
    """The `hold` method of the same replicas."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.choose_replica = replicas.choose_replica

    async def dispatch(self, slot: Slot) -> str:
        await self._replicas.thawed(slot.replica_id)
        return await self._replicas.uses[slot.replica_id].hold()


async def answer(ids: list[int]) -> None:
    """A replica that is well."""
    await asyncio.sleep(0)
