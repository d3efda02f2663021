"""Errors of Serve's HTTP proxy in the JSON contract (503), and valid request ids.

When an Ingress process dies, its proxy has nothing to pass on and the caller would get a plain-text
`500`; a request id that is not text would be a `500` as well, and any other malformed one would be
echoed unchanged. A proxy that has just been replaced knows no routes yet and would answer `404` for
paths that are there. This middleware runs inside the proxy, in front of its own code, beside the
one that lets a small body travel with its request (`early_body`); a proxy that loads them also
routes on its own event loop. Serve reads their place from an environment variable of the proxy's
node, so it must be set before Ray starts there: `set_proxy_errors` does so for a Ray that this
process starts, `ray start` needs `export {VARIABLE}={MIDDLEWARES}`.
"""

from __future__ import annotations

import os
from typing import Any, get_args

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.errors import NotReady
from cluster.serving.http.dialects.table import by_path, error_forms
from cluster.serving.http.early_body import EarlyBody
from cluster.serving.http.errors import ErrorForm, told, use_form
from cluster.serving.http.request_id import sound_id, with_id
from cluster.types import Dialect

VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
MIDDLEWARES = "cluster.serving.http.proxy_errors:middlewares"
OF_THE_PROXY = (408, 503)
"""Statuses that Serve's proxy answers by itself, as text."""
NATIVE = (
    *("/v1/score", "/v1/rank", "/v1/model", "/v1/tokenize", "/v1/status"),
    *("/healthz", "/readyz"),
)
FORMS = error_forms(get_args(Dialect))
SCORING = (*NATIVE, *(path for path in by_path(get_args(Dialect)) if path not in NATIVE))
"""Endings of paths for which the proxy's own 404 means "not yet". What is only asked about a
server, as `/info`, may as well be another application's."""


class ProxyErrors:
    """Answers if the app has not, and replaces the proxy's plain-text errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = replaced = False
        request_id = sound_id(Headers(scope=scope))
        scope = {**scope, "headers": with_id(scope["headers"], request_id)}

        async def outward(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                replaced = _is_proxys_own(message, scope["path"])
            if not replaced:
                await send(message)

        await self._app(scope, receive, outward)
        if replaced or not started:
            await _unavailable(scope, request_id)(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Called by Serve in each proxy."""
    route_on_own_loop()
    return [Middleware(ProxyErrors), Middleware(EarlyBody)]


def route_on_own_loop() -> None:
    """Have this proxy route its requests on the event loop that receives them, which saves each
    request and each part of its answer a change of thread.

    Serve has a switch for it, an environment variable, but of all its processes on a node: in other
    applications' replicas it would break calls from plain functions. So it is thrown here.
    """
    from ray.serve._private import default_impl

    switches: Any = default_impl
    switches.RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP = False


def set_proxy_errors() -> None:
    """Sets it for a Ray that this process is about to start; keeps what the user has set."""
    os.environ.setdefault(VARIABLE, MIDDLEWARES)


def _is_proxys_own(start: Message, path: str) -> bool:
    kind = Headers(raw=list(start.get("headers", ()))).get("content-type", "")
    status = start["status"]
    meant = status in OF_THE_PROXY or (status == 404 and path.endswith(SCORING))
    return meant and not kind.startswith("application/json")


def _form(path: str) -> ErrorForm | None:
    """Of the longest ending that is known; an app may stand under any prefix."""
    ending = max((each for each in (*NATIVE, *FORMS) if path.endswith(each)), key=len, default="")
    return FORMS.get(ending)


def _unavailable(scope: Scope, request_id: str) -> Response:
    error = NotReady("the process that was answering is gone or not there yet; ask again")
    scope = {**scope, "state": {"request_id": request_id}}
    use_form(scope, _form(scope["path"]))
    answer = told(error, scope)
    answer.headers["Retry-After"] = "1"
    return answer
