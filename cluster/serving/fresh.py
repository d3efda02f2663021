"""Shared answer: one call serves all callers within a few seconds, so that polling costs little."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """The answer of `ask`, at most `fresh_s` seconds old or just on its way."""

    def __init__(self, ask: Callable[[], Awaitable[T]], fresh_s: float) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._asking: asyncio.Task[T] | None = None
        self._since = 0.0

    async def get(self) -> T:
        """Raises what `ask` raises. A caller that is cancelled takes the answer from no other."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._since > self._fresh_s):
            self._since = now
            # An empty context: Serve would cancel it with the request that began it.
            self._asking = asyncio.create_task(self._asked(), context=Context())
        return await asyncio.shield(self._asking)

    async def _asked(self) -> T:
        return await self._ask()
