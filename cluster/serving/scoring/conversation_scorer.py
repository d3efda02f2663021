"""Conversation scorer: conversations to rewards, shared by the client actor and HTTP.

Window by window (`window_scorer`), so that a call of any size holds the ids of a few windows only.
Every item ends with a score or an error, at the deadline at the latest. `score` answers a call with
a single revision: results of other weights during a roll are scored again. (A stream passes each
result on at once, so each of its scores names its own revision.)

Knows nothing of HTTP, actors or queues.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cluster.errors import DeadlineExceeded, RevisionChanged, RewardError
from cluster.serving.batching.batcher_client import BatcherClient
from cluster.serving.batching.retry import pause_s
from cluster.serving.call_options import CallOptions
from cluster.serving.deadline import pause
from cluster.serving.scoring.served_encoder import ServedEncoder
from cluster.serving.scoring.token_limit import CallTokens
from cluster.serving.scoring.transformed import with_transformed
from cluster.serving.scoring.window_scorer import Emit, Item, WindowScorer
from cluster.serving.scoring.windows import windows
from cluster.types import Score

Pieces = AsyncIterator[Mapping[int, Any]]
"""Conversations by index, as they become known; an error for one that never will."""

WINDOWS = 4
"""Windows of one call that are encoded or being scored at a time."""
MIXED_S = 300.0
"""Seconds for which a call without a deadline is retried while a roll mixes revisions."""


class ConversationScorer:
    """Scores conversations through `submitter`; one serves many calls at once."""

    def __init__(self, submitter: BatcherClient, max_tokens: int | None = None) -> None:
        """max_tokens: of one call; a call with more fails as a whole with TooLong."""
        self._max_tokens = max_tokens
        self._windows = WindowScorer(submitter)

    @property
    def encoder(self) -> ServedEncoder:
        """The served model's encoder."""
        return self._windows.encoder

    async def score(self, n: int, pieces: Pieces, terms: CallOptions) -> list[Item]:
        """The results of items 0 to n-1, all of one revision or the rest with RevisionChanged.

        With the transforms of `terms`; InvalidInput if they produce a number that is not finite."""
        known: dict[int, Any] = {}
        results: dict[int, Item] = {}

        async def remembered() -> Pieces:
            async for piece in pieces:
                known.update(piece)
                yield piece

        await self._run(n, remembered(), terms, results.__setitem__)
        await self._agree(known, results, terms)
        ordered = [results[i] for i in range(n)]
        if not terms.transforms:
            return ordered
        return with_transformed([known.get(i) for i in range(n)], ordered, terms.transforms)

    async def stream(
        self, n: int, pieces: Pieces, terms: CallOptions
    ) -> AsyncIterator[tuple[int, Item]]:
        """(index, result) of items 0 to n-1 as each completes."""
        queue: asyncio.Queue[tuple[int, Item] | None] = asyncio.Queue()

        def emit(i: int, item: Item) -> None:
            queue.put_nowait((i, item))

        running = asyncio.create_task(self._run(n, pieces, terms, emit, stream=True))
        running.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (result := await queue.get()) is not None:
                yield result
            await running
        finally:
            running.cancel()

    async def _run(
        self, n: int, pieces: Pieces, terms: CallOptions, emit: Emit, stream: bool = False
    ) -> None:
        """Emit a result for each of the n items, exactly once."""
        missing = set(range(n))
        tokens = CallTokens(self._max_tokens)

        def once(i: int, item: Item) -> None:
            if i in missing:
                missing.discard(i)
                emit(i, item.at(i) if isinstance(item, RewardError) else item)

        room = asyncio.Semaphore(WINDOWS)

        async def window(items: Mapping[int, Any]) -> None:
            try:
                await self._windows.score(items, terms, once, stream, tokens)
            except RewardError as error:
                if error is tokens.too_many:
                    raise
                for i in items:
                    once(i, error)
            finally:
                room.release()

        try:
            async with asyncio.TaskGroup() as group:
                async for piece in _until(pieces, terms.deadline):
                    for i, known in piece.items():
                        if isinstance(known, RewardError):
                            once(i, known)
                    for items in windows({i: piece[i] for i in piece if i in missing}):
                        await room.acquire()
                        group.create_task(window(items))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        for i in sorted(missing):
            once(i, DeadlineExceeded("the deadline passed before the item was known", i))

    async def _agree(
        self, known: Mapping[int, Any], results: dict[int, Item], terms: CallOptions
    ) -> None:
        """Score again what did not come from the revision that answered last, until one revision
        remains."""
        end = time.monotonic() + MIXED_S if terms.deadline is None else terms.deadline
        for attempt in itertools.count():
            others = outvoted(results)
            if not others:
                return
            why = RevisionChanged("the weights changed while the call was scored; ask again")
            if not await pause(pause_s(why, attempt), end):
                results.update({i: why.at(i) for i in others})
                return
            again: dict[int, Item] = {}
            conversations = {i: known[i] for i in others}
            await self._run_some(conversations, terms, again)
            for i in others:
                del results[i]  # what answers last stands last
            results.update(again)

    async def _run_some(
        self, conversations: Mapping[int, Any], terms: CallOptions, results: dict[int, Item]
    ) -> None:
        keys = list(conversations)

        async def pieces() -> Pieces:
            yield dict(enumerate(conversations.values()))

        def emit(place: int, item: Item) -> None:
            i = keys[place]
            results[i] = item.at(i) if isinstance(item, RewardError) else item

        await self._run(len(keys), pieces(), terms, emit)


async def _until(pieces: Pieces, deadline: float | None) -> Pieces:
    """`pieces`, until the deadline."""
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                piece = await anext(pieces)
        except (StopAsyncIteration, TimeoutError):
            return
        yield piece


def outvoted(results: Mapping[int, Item]) -> list[int]:
    """The items whose revision differs from the last answer's. results: in order of arrival."""
    made_by = {i: (r.model, r.revision) for i, r in results.items() if isinstance(r, Score)}
    if len(set(made_by.values())) < 2:
        return []
    last = next(reversed(made_by.values()))
    return [i for i, revision in made_by.items() if revision != last]
