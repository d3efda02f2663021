"""Shared and exclusive access to a replica, granted before work begins.

A suspect batch is only sent once it holds its replica alone: if the process then dies, nothing else
can have been the cause, whichever batcher sent what. A hold expires if its batch does not arrive
within `hold_s`, so a batcher that dies meanwhile blocks nobody. One event loop, no locks.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

HOLD_S = 5.0


class HoldLost(Exception):
    """The hold expired before its batch arrived; the batch has not run."""


class ExclusiveAccess:
    """A holder waits for all earlier users; later ones wait for the holder."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._n_shared = 0
        self._holder: str | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Use it together with others."""
        await self._until(lambda: self._holder is None)
        self._n_shared += 1
        try:
            yield
        finally:
            self._n_shared -= 1
            self._changed()

    async def hold(self) -> str:
        """Wait until nobody else uses it; returns the token for `alone`."""
        await self._until(lambda: self._holder is None)
        token = self._holder = uuid.uuid4().hex
        try:
            await self._until(lambda: self._n_shared == 0)
        except asyncio.CancelledError:
            self._release(token)
            raise
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(self._hold_s, self._release, token)
        return token

    @asynccontextmanager
    async def alone(self, token: str) -> AsyncIterator[None]:
        """Use it exclusively, by the `token` of `hold`. Raises HoldLost if the hold has expired."""
        if token != self._holder or self._expiry is None:
            raise HoldLost(token)
        self._expiry.cancel()
        self._expiry = None
        try:
            yield
        finally:
            self._release(token)

    def _release(self, token: str) -> None:
        if self._holder == token:
            self._holder = self._expiry = None
            self._changed()

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
