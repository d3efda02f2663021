"""Request middleware: request ids, access log, unexpected errors.

Pure ASGI. Never reads a body and never logs a path's variable part, a query or a header.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.errors import RewardError
from cluster.serving.http.errors import ErrorForm, told, unexpected, use_form
from cluster.serving.http.request_id import HEADER, sound_id
from cluster.serving.logs import LOGGER, event
from cluster.serving.metrics import ServingMetrics


class RequestMiddleware:
    """Wraps the app.

    echo_id: whether to add the id's header to the answer; behind Serve's proxy, which adds it too,
    it would appear twice.
    forms: of errors, by path, until the request is known better; any other path has the native one.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: ServingMetrics,
        echo_id: bool,
        forms: Mapping[str, ErrorForm],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._echo_id = echo_id
        self._forms = forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = sound_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        use_form(scope, self._forms.get(_path_in_app(scope)))
        started, status = time.perf_counter(), 0

        async def outward(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._echo_id:
                    MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, outward)
        except Exception:
            self._metrics.error(RewardError.code)
            logging.getLogger(LOGGER).exception("request %s failed", request_id)
            if status:  # half an answer is sent; the server must close the connection
                raise
            await told(unexpected(request_id), scope)(scope, receive, outward)
        finally:
            event(
                "http_request",
                request_id=request_id,
                method=scope["method"],
                route=getattr(scope.get("route"), "path", None),
                status=status,
                seconds=time.perf_counter() - started,
            )


def _path_in_app(scope: Scope) -> str:
    """Without the prefix under which Serve routes to the app."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
