"""Batcher client: every item ends with a score or an error, whatever process dies.

`Submitter.results` yields each index exactly once. Items whose answer is lost, or says to try
later, are asked for again until their deadline; scoring is pure and the batcher remembers recent
answers, so asking twice costs little and changes nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from ray import serve
from ray.serve.handle import DeploymentHandle

from cluster.errors import DeadlineExceeded, RewardError, ScoringFailed
from cluster.serving.batching.chunks import CHUNK_TOKENS, chunks
from cluster.serving.batching.retry import (
    AnswerIncomplete,
    being_cancelled,
    is_retryable,
    pause_s,
    unwrap_ray_error,
)
from cluster.serving.deadline import Deadline, pause, within
from cluster.serving.names import BATCHER
from cluster.serving.protocol import BatchResult, ServedModel, from_bytes, to_bytes
from cluster.types import EncodedBatch, Encoding, ModelInfo, Score

logger = logging.getLogger(__name__)

T = TypeVar("T")
Indexed = tuple[int, Score | RewardError]

COMPLAIN_S = 10.0
ENDED: RewardError = ScoringFailed("the call was ended before it was answered")


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """Options of one call. deadline: on `time.monotonic`."""

    priority: int
    deadline: float | None
    stream: bool
    job: str | None


class BatcherClient:
    """Calls the batcher of one app, from one process."""

    def __init__(self, app: str, *, patient: bool = True) -> None:
        """patient: wait and ask again while the service is full or not ready, rather than return
        its Overloaded or NotReady. What died unanswered is asked for again in any case."""
        self._app = app
        self._patient = patient
        self._handle: DeploymentHandle[Any] | None = None

    async def results(
        self,
        encodings: Mapping[int, Encoding],
        priority: int,
        deadline: float | None,
        stream: bool = False,
        job: str | None = None,
    ) -> AsyncIterator[Indexed]:
        """(index, result) for every key of `encodings`, as the pieces complete.

        deadline: on `time.monotonic`. stream: results come as each batch completes. job: the Ray
        job that asks; the batcher drops its calls once it has finished.
        """
        results: asyncio.Queue[Indexed] = asyncio.Queue()
        options = SubmitOptions(priority, deadline, stream, job)
        tasks = [
            asyncio.create_task(self._finish(chunk, options, results.put_nowait))
            for chunk in (chunks(encodings, CHUNK_TOKENS) if self._patient else [dict(encodings)])
        ]
        try:
            for _ in range(len(encodings)):
                yield await results.get()
        finally:
            for task in tasks:
                task.cancel()

    async def model_info(self, deadline: float | None) -> ModelInfo:
        """What a replica has loaded; waits until there is one."""
        return await self._until(deadline, lambda h: h.model_info.remote())

    async def served(self, deadline: float | None) -> ServedModel:
        """What a replica serves, from which the tokenizer is loaded."""
        return await self._until(deadline, lambda h: h.served.remote())

    async def _finish(
        self, pending: dict[int, Encoding], options: SubmitOptions, emit: Callable[[Indexed], None]
    ) -> None:
        """Emit every item of `pending`, whatever ends this task."""
        last = ENDED
        try:
            last = await self._ask_until(pending, options, emit)
        except Exception as error:
            last = _failed(error)
        finally:
            for i in pending:
                emit((i, last.at(i)))

    async def _ask_until(
        self, pending: dict[int, Encoding], options: SubmitOptions, emit: Callable[[Indexed], None]
    ) -> RewardError:
        """Ask until nothing is pending or asking again is pointless; returns the error that made it
        so."""
        in_vain = 0
        for attempt in itertools.count():
            why: BaseException = AnswerIncomplete("the answer lacks items")
            n_asked = len(pending)
            try:
                async for i, item in self._ask(dict(pending), options):
                    if isinstance(item, RewardError) and item.retryable:
                        why = item
                    else:
                        del pending[i]
                        emit((i, item.at(i) if isinstance(item, RewardError) else item))
            except (Exception, asyncio.CancelledError) as error:
                if being_cancelled():
                    raise
                why = unwrap_ray_error(error)
            if not pending:
                return ENDED
            final = isinstance(why, RewardError) and not self._patient
            if final or not is_retryable(why, in_vain):
                return _failed(why)
            in_vain = 0 if len(pending) < n_asked else in_vain + 1
            if not await pause(pause_s(why, attempt), options.deadline):
                return _too_late(why)
            logger.info("%d items are asked again: %s", len(pending), why)
        raise AssertionError("unreachable")

    async def _ask(
        self, pending: Mapping[int, Encoding], options: SubmitOptions
    ) -> AsyncIterator[Indexed]:
        """One call for `pending`; yields what it answers under the same keys."""
        keys, encodings = list(pending), list(pending.values())
        batch = EncodedBatch.from_encodings(encodings)
        deadline, until = options.deadline, Deadline.of(options.deadline)
        ask = (batch, options.priority, until, self._patient, options.job)
        if not options.stream:
            answer = await within(self._score_batch(to_bytes(ask)), deadline)
            result: BatchResult = from_bytes(answer)
            for i, item in zip(keys, result.scores(encodings), strict=True):
                yield i, item
            return
        parts: Any = self._batcher().options(stream=True).score_stream.remote(*ask)
        try:
            while True:
                index, part = await within(anext(parts), deadline)
                of_part = [encodings[k] for k in index]
                for k, item in zip(index, part.scores(of_part), strict=True):
                    yield keys[k], item
        except StopAsyncIteration:
            return
        finally:
            parts.cancel()

    async def _score_batch(self, ask: bytes) -> Any:
        """Sent without Serve's question whether the process accepts one more request: a batcher
        always does, and refuses by tokens."""
        method = self._batcher().score_bytes
        async with method.choose_replica() as slot:
            response: Any = method.dispatch(slot, ask)
            try:
                return await response
            except asyncio.CancelledError:
                response.cancel()
                raise

    async def _until(
        self, deadline: float | None, call: Callable[[DeploymentHandle[Any]], Awaitable[T]]
    ) -> T:
        """The answer to a small call, which is repeated until it succeeds."""
        with self._complaining():
            for attempt in itertools.count():
                try:
                    return await within(call(self._batcher()), deadline)
                except (Exception, asyncio.CancelledError) as error:
                    if being_cancelled():
                        raise
                    why = unwrap_ray_error(error)
                if not is_retryable(why, attempt):
                    raise _failed(why) from why
                if not await pause(pause_s(why, attempt), deadline):
                    raise _too_late(why) from why
        raise AssertionError("unreachable")

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """While the block runs, log a WARNING every `COMPLAIN_S`: a healthy batcher answers small
        calls at once."""
        loop, started = asyncio.get_running_loop(), time.monotonic()
        timer: asyncio.TimerHandle

        def complain() -> None:
            nonlocal timer
            logger.warning(
                "app %r has not answered for %.0f s; is it deployed, under this name, and does a "
                "replica serve? Waiting for it",
                self._app,
                time.monotonic() - started,
            )
            timer = loop.call_later(COMPLAIN_S, complain)

        timer = loop.call_later(COMPLAIN_S, complain)
        try:
            yield
        finally:
            timer.cancel()

    def _batcher(self) -> DeploymentHandle[Any]:
        """Made at the first call: the app may start after this process."""
        if self._handle is None:
            self._handle = serve.get_deployment_handle(BATCHER, self._app, _check_exists=False)
        return self._handle


def _failed(why: BaseException) -> RewardError:
    """The error for the caller where asking again is pointless. Details of an unexpected one go to
    the log only."""
    if isinstance(why, RewardError):
        return why
    logger.error("a call to the batcher failed", exc_info=why)
    return ScoringFailed(f"the service failed: {type(why).__name__}; its log says more")


def _too_late(why: BaseException) -> RewardError:
    return DeadlineExceeded(f"not scored in time; the last attempt ended with: {why}")
