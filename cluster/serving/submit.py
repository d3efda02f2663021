"""A caller's way to the batcher: every item ends with a score or an error, whatever dies.

`Submitter.results` yields each index exactly once. Items whose answer is lost or "try later" are
asked again until their deadline; scoring is pure and the batcher remembers recent answers, so
asking twice costs little and changes nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from ray import serve
from ray.serve.handle import DeploymentHandle

from cluster.errors import DeadlineExceeded, RewardError, ScoringFailed
from cluster.serving.names import BATCHER
from cluster.serving.retry import is_retryable, pause_s, plain
from cluster.serving.wire import BatchResult, ServedModel
from cluster.types import EncodedBatch, Encoding, ModelInfo, Score

logger = logging.getLogger(__name__)

T = TypeVar("T")
Indexed = tuple[int, Score | RewardError]

GRACE_S = 1.0
CHUNK_TOKENS = 500_000
"""A call is sent in pieces of at most this many tokens, so that one may wait while others run."""


class Submitter:
    """Calls the batcher of one app, from one process."""

    def __init__(self, app: str, *, patient: bool = True) -> None:
        """patient: wait and ask again while the service is full or not ready, rather than answer
        with its Overloaded or NotReady. Asked again in any case: what died unanswered."""
        self._app = app
        self._patient = patient
        self._handle: DeploymentHandle[Any] | None = None

    async def results(
        self,
        encodings: Mapping[int, Encoding],
        priority: int,
        deadline: float | None,
        stream: bool = False,
    ) -> AsyncIterator[Indexed]:
        """(index, result) for every key of `encodings`, as the pieces complete.

        deadline: on `time.monotonic`. stream: results come as each batch completes.
        """
        results: asyncio.Queue[Indexed] = asyncio.Queue()
        tasks = [
            asyncio.create_task(self._finish(chunk, priority, deadline, stream, results.put_nowait))
            for chunk in chunks(encodings, CHUNK_TOKENS)
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
        self,
        pending: dict[int, Encoding],
        priority: int,
        deadline: float | None,
        stream: bool,
        emit: Callable[[Indexed], None],
    ) -> None:
        """Ask until every item of `pending` has been emitted, with an error if need be."""
        for attempt in itertools.count():
            why: BaseException | None = None
            try:
                async for i, item in self._ask(dict(pending), priority, deadline, stream):
                    if isinstance(item, RewardError) and item.retryable:
                        why = item
                    else:
                        del pending[i]
                        emit((i, item.at(i) if isinstance(item, RewardError) else item))
            except Exception as error:
                why = plain(error)
            if not pending:
                return
            assert why is not None, "an answer holds every item of its question"
            if not self._patient and isinstance(why, RewardError):
                for i in pending:
                    emit((i, why.at(i)))
                return
            if not is_retryable(why) or not await _pause(pause_s(why, attempt), deadline):
                for i in pending:
                    emit((i, _given_up(why, i)))
                return
            logger.info("%d items are asked again: %s", len(pending), why)

    async def _ask(
        self, pending: Mapping[int, Encoding], priority: int, deadline: float | None, stream: bool
    ) -> AsyncIterator[Indexed]:
        """One call for `pending`; yields what it answers under the same keys."""
        keys, encodings = list(pending), list(pending.values())
        batch = EncodedBatch.from_encodings(encodings)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not stream:
            response = self._batcher().score_batch.remote(batch, priority, left)
            result: BatchResult = await _within(response, deadline)
            for i, item in zip(keys, result.scores(encodings), strict=True):
                yield i, item
            return
        parts: Any = self._batcher().options(stream=True).score_stream.remote(batch, priority, left)
        try:
            while True:
                index, part = await _within(anext(parts), deadline)
                of_part = [encodings[k] for k in index]
                for k, item in zip(index, part.scores(of_part), strict=True):
                    yield keys[k], item
        except StopAsyncIteration:
            return
        finally:
            parts.cancel()

    async def _until(
        self, deadline: float | None, call: Callable[[DeploymentHandle[Any]], Awaitable[T]]
    ) -> T:
        for attempt in itertools.count():
            try:
                return await _within(call(self._batcher()), deadline)
            except Exception as error:
                why = plain(error)
                if not is_retryable(why) or not await _pause(pause_s(why, attempt), deadline):
                    raise _given_up(why, None) from error
        raise AssertionError("unreachable")

    def _batcher(self) -> DeploymentHandle[Any]:
        """Made at the first call: the app may start after this process."""
        if self._handle is None:
            self._handle = serve.get_deployment_handle(BATCHER, self._app, _check_exists=False)
        return self._handle


def chunks(encodings: Mapping[int, Encoding], max_tokens: int) -> Iterator[dict[int, Encoding]]:
    """Consecutive pieces of at most `max_tokens` tokens, or one longer item alone."""
    chunk: dict[int, Encoding] = {}
    n_tokens = 0
    for i, encoding in encodings.items():
        if chunk and n_tokens + encoding.n_tokens > max_tokens:
            yield chunk
            chunk, n_tokens = {}, 0
        chunk[i] = encoding
        n_tokens += encoding.n_tokens
    if chunk:
        yield chunk


async def _within(call: Awaitable[T], deadline: float | None) -> T:
    """Await a Serve response until shortly after `deadline`, then cancel it.

    The batcher itself answers at the deadline; the grace is for its answer to arrive.
    """
    timeout = None if deadline is None else max(0.0, deadline - time.monotonic()) + GRACE_S
    try:
        return await asyncio.wait_for(_awaited(call), timeout)
    except (TimeoutError, asyncio.CancelledError) as error:
        cancel = getattr(call, "cancel", None)
        if cancel is not None:
            cancel()
        if isinstance(error, TimeoutError):
            raise DeadlineExceeded("the service did not answer in time") from None
        raise


async def _awaited(call: Awaitable[T]) -> T:
    return await call


async def _pause(seconds: float, deadline: float | None) -> bool:
    """Sleep, at most until `deadline`; False where it has passed already."""
    left = seconds if deadline is None else min(seconds, deadline - time.monotonic())
    if left <= 0:
        return False
    await asyncio.sleep(left)
    return True


def _given_up(why: BaseException, item: int | None) -> RewardError:
    if isinstance(why, RewardError) and not why.retryable:
        return why if item is None else why.at(item)
    if is_retryable(why):
        return DeadlineExceeded(f"not scored in time; the last attempt ended with: {why}", item)
    logger.error("a call to the batcher failed", exc_info=why)
    return ScoringFailed(f"the service failed: {type(why).__name__}; its log says more", item)
