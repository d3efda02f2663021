"""Health probes: what each replica of a deployment answers, each with its own time limit.

One that hangs costs its own answer and nobody else's. Probes go past the queues and past routing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cluster.errors import NotReady
from cluster.serving.fresh import Fresh
from cluster.serving.protocol import ServedModel
from cluster.types import ModelInfo

PROBE_S = 2.0
"""Seconds in which a process's event loop answers, forward running or not."""
FRESH_S = 1.0
"""For so long one probe serves every caller, so that readiness is no amplifier."""


async def each_answer(
    handle: Any, method: str, timeout_s: float = PROBE_S
) -> AsyncGenerator[Any, None]:
    """The answers of `handle`'s running processes as they come; without those that fail."""
    with contextlib.suppress(RayError, RayServeException, TimeoutError):
        asked = await _ask(handle, method, timeout_s)
        try:
            for answer in asyncio.as_completed(asked, timeout=timeout_s):
                with contextlib.suppress(RayError, RayServeException):
                    yield await answer
        finally:
            for each in asked:
                each.cancel()


async def every_answer(handle: Any, method: str, timeout_s: float = PROBE_S) -> list[Any]:
    """One entry for each running process of `handle`: its answer, None where it fails or says
    nothing in time. A single None where it is not known which processes run."""
    try:
        asked = await _ask(handle, method, timeout_s)
    except (RayError, RayServeException, TimeoutError):
        return [None]
    if not asked:
        return []
    done, pending = await asyncio.wait(asked, timeout=timeout_s)
    for each in pending:
        each.cancel()
    return [each.result() if _has_answered(each, done) else None for each in asked]


async def _ask(handle: Any, method: str, timeout_s: float) -> list[asyncio.Future[Any]]:
    """The coming answers of `handle`'s running processes. Serve's public way has one time limit for
    all, which one that hangs always reaches."""
    response = handle.broadcast(method)
    results = await asyncio.wait_for(response._fetch_replica_results_async(), timeout_s)
    return [asyncio.ensure_future(result.get_async()) for result in results]


def _has_answered(asked: asyncio.Future[Any], done: Collection[asyncio.Future[Any]]) -> bool:
    return asked in done and not isinstance(asked.exception(), (RayError, RayServeException))


class ModelProbe:
    """What a replica that is well serves. fresh_s: how old the answer of `info` may be."""

    def __init__(self, replicas: Any, fresh_s: float = FRESH_S, timeout_s: float = PROBE_S) -> None:
        self._replicas = replicas
        self._timeout_s = timeout_s
        self._known = Fresh(self._first, fresh_s)

    async def info(self) -> ModelInfo:
        """Of the first to answer. Raises NotReady where none does in time."""
        return _required(await self._known.get()).info

    async def served(self) -> ServedModel:
        """As `info`, asked now. Raises NotReady."""
        return _required(await self._first())

    async def _first(self) -> ServedModel | None:
        answers = each_answer(self._replicas, "served", self._timeout_s)
        async with contextlib.aclosing(answers):
            async for answer in answers:
                if isinstance(answer, ServedModel):
                    return answer
        return None


def _required(found: ServedModel | None) -> ServedModel:
    if found is None:
        raise NotReady("no replica answers; see the replicas' log")
    return found
