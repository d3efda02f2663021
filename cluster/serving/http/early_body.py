"""Early body: a small request body travels with its request, from Serve's proxy to the Ingress.

Without this an Ingress has to call the proxy back for every body, a round trip between two
processes. `EarlyBody` runs in the proxy: it waits a moment for a body that is announced as small,
and puts it into the ASGI scope, which Serve hands over as it is. `EarlyBodyReceiver` runs in the
Ingress and gives it to the app as its first message. A body that is large, slow or of unknown
length, and every body where the proxy does not run `EarlyBody`, goes Serve's own way.
"""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.serving.http.unary_answer import METHOD

KEY = "reward_cluster.body"
"""Of the scope; no header of a client's can set it."""
MAX_BYTES = 64 * 1024
"""Ray sends arguments of up to 100 KB inline; larger ones would take a detour of their own."""
WAIT_S = 0.05
"""Clients send headers and body one after the other; who takes longer is slow, see `BodyReader`."""


class EarlyBody:
    """In the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        METHOD.set("")  # a pipelined request may be begun by the task of the one before it
        if scope["type"] != "http" or not _is_small(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        body = _Arriving(receive)
        try:
            if await body.is_whole_soon():
                scope = {**scope, KEY: body.content()}
                METHOD.set(scope["method"])
            await self._app(scope, body.receive, send)
        finally:
            body.close()


class EarlyBodyReceiver:
    """In the Ingress."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = scope.pop(KEY, None)
        if body is None:
            await self._app(scope, receive, send)
            return
        given = False

        async def early() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self._app(scope, early, send)


def _is_small(headers: Headers) -> bool:
    length = headers.get("content-length", "")
    return length.isdecimal() and len(length) < 10 and 0 < int(length) <= MAX_BYTES


class _Arriving:
    """The messages of one request, of which the first are waited for."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: list[Message] = []
        self._next: asyncio.Future[Message] | None = None

    async def is_whole_soon(self) -> bool:
        """Whether all of the body comes within `WAIT_S`."""
        end = time.monotonic() + WAIT_S
        while not self._messages or self._messages[-1].get("more_body", False):
            self._next = asyncio.ensure_future(self._receive())
            await asyncio.wait([self._next], timeout=end - time.monotonic())
            if not self._next.done():
                return False
            self._messages.append(self._next.result())
            self._next = None
        return all(message["type"] == "http.request" for message in self._messages)

    def content(self) -> bytes:
        """The body; its messages are taken."""
        messages, self._messages = self._messages, []
        return b"".join(message.get("body", b"") for message in messages)

    async def receive(self) -> Message:
        """What was waited for and not taken, then what comes."""
        if self._messages:
            return self._messages.pop(0)
        coming, self._next = self._next, None
        return await (self._receive() if coming is None else coming)

    def close(self) -> None:
        """End what is still waited for."""
        if self._next is not None:
            self._next.cancel()
