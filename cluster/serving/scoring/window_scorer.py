"""Window scorer: encodes and submits one window, re-encodes what a replica refuses.

A replica that serves another tokenizer refuses ids that were made for the old one; they are encoded
again for the model that is served now. Windows of all calls share the room of their priority, so
that less urgent calls do not delay others. Knows nothing of HTTP, actors or queues.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import DeadlineExceeded, EncoderChanged, RewardError
from cluster.serving.batching.batcher_client import BatcherClient
from cluster.serving.batching.retry import pause_s
from cluster.serving.call_options import CallOptions
from cluster.serving.deadline import pause
from cluster.serving.scoring.served_encoder import ServedEncoder
from cluster.serving.scoring.token_limit import CallTokens
from cluster.serving.scoring.windows import size
from cluster.types import Encoding, Score

Item = Score | RewardError
Emit = Callable[[int, Item], None]

WINDOWS_PER_PRIORITY = 1000
"""Windows of all calls of one priority in this process, so that less urgent ones do not delay
others."""
AT_ONCE_ITEMS, AT_ONCE_CHARS = 16, 4000
"""What is encoded in about the time that it takes to hand it to a thread and back, 1 to 2 ms."""


class WindowScorer:
    """Scores windows through `submitter`; one serves many calls at once."""

    def __init__(self, submitter: BatcherClient) -> None:
        self.encoder = ServedEncoder(submitter.served)
        self._submitter = submitter
        self._room: dict[int, asyncio.Semaphore] = {}

    async def score(
        self,
        window: Mapping[int, Any],
        terms: CallOptions,
        emit: Emit,
        stream: bool,
        tokens: CallTokens,
    ) -> None:
        """A result for each conversation of `window`, under the same index.

        tokens: of the call; the window's are added to them. Raises the RewardError that is the
        result of all that have none yet.
        """
        async with self._turn(terms):
            await self._score(dict(window), terms, emit, stream, tokens)

    async def _score(
        self,
        pending: dict[int, Any],
        terms: CallOptions,
        emit: Emit,
        stream: bool,
        tokens: CallTokens,
    ) -> None:
        encoder, counted = await self.encoder.get(terms.deadline), False
        for attempt in itertools.count():
            encoded = await _encoded(encoder, pending, terms.deadline)
            bad = {i: e for i, e in encoded.items() if isinstance(e, RewardError)}
            if bad and not await self.encoder.confirmed(encoder, terms.deadline):
                encoder = await self.encoder.get(terms.deadline)
                if attempt > 0:  # the served model changed more than once
                    await _pause(attempt, terms.deadline)
                continue
            for i, error in bad.items():
                emit(i, error)
            sound = {i: e for i, e in encoded.items() if isinstance(e, Encoding)}
            if not counted:
                tokens.add(sum(encoding.n_tokens for encoding in sound.values()))
                counted = True
            stale: dict[int, EncoderChanged] = {}
            results = self._submitter.results(
                sound, terms.priority, terms.deadline, stream, terms.job
            )
            async for i, item in results:
                if isinstance(item, EncoderChanged):
                    stale[i] = item
                else:
                    emit(i, item)
            if not stale:
                return
            fresh = await self.encoder.refresh(terms.deadline)
            # If the replica that was asked agrees with the old encoder, or the next one refuses the
            # new one, a roll is in progress.
            why = next(iter(stale.values()))
            rolling = fresh is encoder or attempt > 0
            if rolling and not await pause(pause_s(why, attempt), terms.deadline):
                for i, error in stale.items():
                    emit(i, error)
                return
            pending, encoder = {i: pending[i] for i in stale}, fresh

    @asynccontextmanager
    async def _turn(self, terms: CallOptions) -> AsyncIterator[None]:
        """Wait for room among the windows of this priority. Raises DeadlineExceeded."""
        room = self._room.setdefault(terms.priority, asyncio.Semaphore(WINDOWS_PER_PRIORITY))
        try:
            async with asyncio.timeout_at(terms.deadline):
                await room.acquire()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the item's turn came") from None
        try:
            yield
        finally:
            room.release()


async def _pause(attempt: int, deadline: float | None) -> None:
    """Pause while replicas of two models answer alternately during a roll. Raises
    DeadlineExceeded."""
    late = DeadlineExceeded("the deadline passed while the served model was changing")
    if not await pause(pause_s(late, attempt), deadline):
        raise late


async def _encoded(
    encoder: ChatEncoder, conversations: Mapping[int, Any], deadline: float | None
) -> dict[int, Encoding | RewardError]:
    """In a thread, unless that takes longer than encoding. Raises DeadlineExceeded, and then starts
    nothing or leaves it to itself."""
    late = DeadlineExceeded("the deadline passed before the item was encoded")
    if deadline is not None and deadline <= time.monotonic():
        raise late
    wanted = list(conversations.values())
    if len(wanted) <= AT_ONCE_ITEMS and sum(map(size, wanted)) <= AT_ONCE_CHARS:
        made = encoder.encode_all(wanted)
    else:
        try:
            async with asyncio.timeout_at(deadline):
                made = await asyncio.to_thread(encoder.encode_all, wanted)
        except TimeoutError:
            raise late from None
    return dict(zip(conversations, made, strict=True))
