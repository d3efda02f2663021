"""What Serve's own HTTP proxy says when the Ingress cannot: 503 in the JSON contract.

When an Ingress process dies, its proxy has nothing to pass on and the caller would get a bare text
`500`. This middleware runs inside the proxy. Serve takes it from an environment variable of the
node that the proxy runs on, so it is set before Ray starts there: `set_proxy_errors` does for a Ray
that this process starts, `ray start` needs `export {VARIABLE}={MIDDLEWARES}`.
"""

from __future__ import annotations

import os
import re
import uuid

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.errors import NotReady
from cluster.serving.http.errors import error_response

VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
MIDDLEWARES = "cluster.serving.http.proxy:middlewares"
OF_THE_PROXY = (408, 503)
"""Statuses that Serve's proxy answers by itself, as text."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


class ProxyErrors:
    """Answers where the app has not, and instead of the proxy's own texts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = replaced = False

        async def outward(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                replaced = _is_proxys_own(message)
            if not replaced:
                await send(message)

        await self._app(scope, receive, outward)
        if replaced or not started:
            await _unavailable(Headers(scope=scope))(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Called by Serve in each proxy."""
    return [Middleware(ProxyErrors)]


def set_proxy_errors() -> None:
    """For a Ray that this process is about to start; keeps what the user has set."""
    os.environ.setdefault(VARIABLE, MIDDLEWARES)


def _is_proxys_own(start: Message) -> bool:
    kind = Headers(raw=list(start.get("headers", ()))).get("content-type", "")
    return start["status"] in OF_THE_PROXY and not kind.startswith("application/json")


def _unavailable(asked: Headers) -> Response:
    error = NotReady("the process that was answering is gone or not there yet; ask again")
    request_id = asked.get("x-request-id", "")
    answer = error_response(error, request_id if _ID.fullmatch(request_id) else uuid.uuid4().hex)
    answer.headers["Retry-After"] = "1"
    return answer
