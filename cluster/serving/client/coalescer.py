"""Coalescing of concurrent calls: calls that arrive while others are running go out together.

A trainer that scores one sample per call has hundreds of calls running, each with a connection of
its own, and its HTTP client spends more time on those than the service on the chats. Here only a
few requests run at a time, and the next one carries all calls that arrived meanwhile. Knows no
HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cluster.errors import RewardError
from cluster.types import Conversation, Score

Results = list[Score | RewardError]
Ask = Callable[[Sequence[Conversation]], Awaitable[Results]]
UNDER_WAY = 8
MAX_ITEMS = 128
"""Maximum conversations of calls that go out together; a call with more goes out alone."""


class Coalescer:
    """Joins the calls of one event loop. A call that is cancelled before it goes out costs
    nothing."""

    def __init__(self, ask: Ask, under_way: int = UNDER_WAY, max_items: int = MAX_ITEMS) -> None:
        self._ask, self._max_under_way, self._max_items = ask, under_way, max_items
        self._waiting: list[tuple[Sequence[Conversation], asyncio.Future[Results]]] = []
        self._workers: set[asyncio.Task[None]] = set()

    async def score(self, conversations: Sequence[Conversation]) -> Results:
        """The results of `ask` for these conversations; raises what it raises for them."""
        answer: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
        self._waiting.append((conversations, answer))
        if len(self._workers) < self._max_under_way:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await answer

    async def _work(self) -> None:
        while calls := self._next():
            await self._send(calls)

    def _next(self) -> list[tuple[Sequence[Conversation], asyncio.Future[Results]]]:
        """The oldest calls that are still waited for, as many as fit."""
        waiting = [call for call in self._waiting if not call[1].done()]
        n_items = taken = 0
        for conversations, _ in waiting:
            n_items += len(conversations)
            if taken and n_items > self._max_items:
                break
            taken += 1
        self._waiting = waiting[taken:]
        return waiting[:taken]

    async def _send(
        self, calls: Sequence[tuple[Sequence[Conversation], asyncio.Future[Results]]]
    ) -> None:
        try:
            results = await self._ask([one for conversations, _ in calls for one in conversations])
        except RewardError as error:
            if len(calls) > 1:  # it may be the fault of one of them
                for call in calls:
                    await self._send([call])
            elif not calls[0][1].done():
                calls[0][1].set_exception(error)
            return
        except Exception as error:
            for _, answer in calls:
                if not answer.done():
                    answer.set_exception(error)
            return
        except asyncio.CancelledError:
            for _, answer in calls:
                answer.cancel()
            raise
        start = 0
        for conversations, answer in calls:
            own = results[start : start + len(conversations)]
            start += len(conversations)
            if not answer.done():
                answer.set_result([_placed(result, i) for i, result in enumerate(own)])


def _placed(result: Score | RewardError, index: int) -> Score | RewardError:
    return result if isinstance(result, Score) else result.at(index)
