"""Request bodies: bytes to a JSON object, within limits of size and time.

A slow body takes one of `http.max_slow_bodies` places, for `http.body_timeout_s` at most; if all
are taken, the one that has held its place longest is dropped. So however many senders are slow, and
however busy the machine, a new sender has time to send. All unfinished bodies together hold at most
`UNREAD_BODIES` times the largest one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from cluster.config import HttpConfig
from cluster.errors import InvalidInput, Overloaded, TooLong, TooSlow

QUICK_S = 1.0
"""Seconds that a body may take without counting as slow."""
UNREAD_BODIES = 32
"""Limit of all unfinished bodies together, as a multiple of `max_body_bytes`."""


class BodyReader:
    """Reads the bodies of one process; everything runs on one event loop."""

    def __init__(self, config: HttpConfig, quick_s: float = QUICK_S) -> None:
        self._config = config
        self._quick_s = quick_s
        self._slow: dict[asyncio.Timeout, None] = {}
        self._held_bytes = 0

    async def read(self, request: Request) -> bytes:
        """The body. Raises TooLong as soon as it is known to be longer than `max_body_bytes`,
        TooSlow where it takes too long, Overloaded where too much is on its way already, and
        InvalidInput where it is compressed: a small one may hold more than all limits."""
        max_bytes = self._config.max_body_bytes
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() not in ("", "identity"):
            raise InvalidInput(
                f"send the body as it is, not in `Content-Encoding` {encoding!a:.40}"
            )
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > max_bytes:
            raise _too_long(max_bytes)
        body = bytearray()
        try:
            with self._timed() as limit:
                async with limit:
                    async for chunk in request.stream():
                        if len(body) + len(chunk) > max_bytes:
                            raise _too_long(max_bytes)
                        self._hold(len(chunk))
                        body += chunk
        except TimeoutError:
            seconds = self._config.body_timeout_s
            raise TooSlow(
                f"the body did not arrive within {seconds:g} s, or {self._config.max_slow_bodies} "
                "later uploads were also slow; send the body without pauses"
            ) from None
        finally:
            self._held_bytes -= len(body)
        return bytes(body)

    def _hold(self, n_bytes: int) -> None:
        self._held_bytes += n_bytes
        if self._held_bytes > UNREAD_BODIES * self._config.max_body_bytes:
            self._held_bytes -= n_bytes
            raise Overloaded("too many request bodies are arriving at once", retry_after_s=1.0)

    @contextmanager
    def _timed(self) -> Iterator[asyncio.Timeout]:
        """A time limit that ends early if a later slow body needs the place."""
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(self._config.body_timeout_s)

        def grow_slow() -> None:
            if len(self._slow) >= self._config.max_slow_bodies:
                longest = next(iter(self._slow))
                del self._slow[longest]
                if not longest.expired():
                    longest.reschedule(loop.time())
            self._slow[limit] = None

        timer = loop.call_later(self._quick_s, grow_slow)
        try:
            yield limit
        finally:
            timer.cancel()
            self._slow.pop(limit, None)


def _too_long(max_bytes: int) -> TooLong:
    return TooLong(
        f"the body has more than {max_bytes} bytes; send fewer conversations a request, "
        "or raise http.max_body_bytes"
    )
