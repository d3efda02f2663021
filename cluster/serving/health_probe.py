"""Health probes: what each replica of a deployment answers, each with its own time limit.

One that hangs costs only its own answer, and a process that is held up itself takes no other for
silent. Probes bypass the queues and the router.
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
"""Seconds within which a process's event loop answers, whether or not a forward is running."""
BEATS = 20
"""Parts of a time limit, each of which lasts a turn of the event loop at least. An answer takes
several turns, and a turn takes seconds where a thousand requests have come at once."""
FRESH_S = 1.0
"""Seconds for which one probe serves every caller, so that readiness checks do not multiply."""


async def each_answer(
    handle: Any, method: str, timeout_s: float = PROBE_S
) -> AsyncGenerator[Any, None]:
    """The answers of `handle`'s running processes as they arrive, without those that fail."""
    with contextlib.suppress(RayError, RayServeException, TimeoutError):
        asked = await _ask(handle, method, timeout_s)
        try:
            async for each in _finished(asked, timeout_s):
                with contextlib.suppress(RayError, RayServeException):
                    yield each.result()
        finally:
            for each in asked:
                each.cancel()


async def every_answer(handle: Any, method: str, timeout_s: float = PROBE_S) -> list[Any]:
    """One entry per running process of `handle`: its answer, or None if it fails or does not answer
    in time. A single None if it is not known which processes run."""
    try:
        asked = await _ask(handle, method, timeout_s)
    except (RayError, RayServeException, TimeoutError):
        return [None]
    done = [each async for each in _finished(asked, timeout_s)]
    for each in asked:
        each.cancel()
    return [each.result() if _has_answered(each, done) else None for each in asked]


async def _ask(handle: Any, method: str, timeout_s: float) -> list[asyncio.Future[Any]]:
    """The pending answers of `handle`'s running processes. Serve's public API has one time limit
    for all of them, which a single hanging one always uses up."""
    response = handle.broadcast(method)
    finding = asyncio.ensure_future(response._fetch_replica_results_async())
    try:
        async for found in _finished([finding], timeout_s):
            return [asyncio.ensure_future(result.get_async()) for result in found.result()]
    finally:
        finding.cancel()
    raise TimeoutError


async def _finished(
    futures: Collection[asyncio.Future[Any]], timeout_s: float
) -> AsyncGenerator[asyncio.Future[Any], None]:
    """Each of `futures` as it ends, within a limit of `timeout_s` or `BEATS` turns of the event
    loop, whichever is longer: a process that is late itself sees an answer that has come."""
    pending, beats = set(futures), 0
    while pending and beats < BEATS:
        done, pending = await asyncio.wait(
            pending, timeout=timeout_s / BEATS, return_when=asyncio.FIRST_COMPLETED
        )
        beats += not done
        for each in done:
            yield each


def _has_answered(asked: asyncio.Future[Any], done: Collection[asyncio.Future[Any]]) -> bool:
    return asked in done and not isinstance(asked.exception(), (RayError, RayServeException))


class ModelProbe:
    """What a healthy replica serves. fresh_s: how old the answer of `info` may be."""

    def __init__(self, replicas: Any, fresh_s: float = FRESH_S, timeout_s: float = PROBE_S) -> None:
        self._replicas = replicas
        self._timeout_s = timeout_s
        self._known = Fresh(self._first, fresh_s)

    async def info(self) -> ModelInfo:
        """From the first replica to answer. Raises NotReady if none does in time."""
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
