"""ASGI application: routes, error handlers, OpenAPI document, middleware. Knows no Ray."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from cluster import __version__
from cluster.config import HttpConfig
from cluster.errors import RewardError
from cluster.serving.http.api_keys import KeyRing, load_keys
from cluster.serving.http.body_reader import BodyReader
from cluster.serving.http.console import add_console
from cluster.serving.http.dialects.answer import (
    description_routes,
    dialect_routes,
    probe_routes,
)
from cluster.serving.http.dialects.table import error_forms
from cluster.serving.http.errors import http_response, request_id_of, told
from cluster.serving.http.inspection_routes import inspection_routes
from cluster.serving.http.inspector import Inspector
from cluster.serving.http.middleware import RequestMiddleware
from cluster.serving.http.request_limit import RequestLimit
from cluster.serving.http.routes import native_routes
from cluster.serving.http.schemas import request_schemas
from cluster.serving.http.scorer import Scorer
from cluster.serving.http.service import Service
from cluster.serving.metrics import ServingMetrics

DESCRIPTION = """\
Rewards for chats from a reward model.

- `reward` is the model's raw logit: no sigmoid, no transform. A failure is never a number.
- `transforms` put a `transformed_reward` beside it, and stand in the answer by name.
- Every error, of a call or of an item, is `{code, message, item}`; the message names the remedy.
- With keys configured, every path that scores requires `Authorization: Bearer <key>`.
- `X-Request-Id` is taken from the request or made, and names the request in the service's log.
"""


def build_http_app(
    scorer: Scorer,
    config: HttpConfig,
    metrics: ServingMetrics | None = None,
    *,
    inspector: Inspector | None = None,
    keys: KeyRing | None = None,
    door: RequestLimit | None = None,
    echo_request_id: bool = True,
) -> FastAPI:
    """The service's HTTP side over `scorer`.

    inspector: None leaves out tokens and status.
    keys: by default those of `config` or the environment; ConfigError for unusable ones.
    """
    metrics = metrics or ServingMetrics()
    keys = KeyRing.of(load_keys(config)) if keys is None else keys
    door = RequestLimit(config) if door is None else door
    # The interactive pages of FastAPI load scripts from a CDN; a slash more is no other place.
    app = FastAPI(
        title="reward-cluster",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    service = Service(scorer, config, metrics, keys, door, BodyReader(config))
    app.include_router(native_routes(service))
    app.include_router(dialect_routes(service))
    app.include_router(description_routes(service))
    app.include_router(probe_routes(service))
    if inspector is not None:
        app.include_router(inspection_routes(service, inspector))
    add_console(app)
    forms = error_forms(config.dialects)
    app.add_middleware(RequestMiddleware, metrics=metrics, echo_id=echo_request_id, forms=forms)
    _handle_errors(app, metrics)
    _document_bodies(app)
    return app


def _handle_errors(app: FastAPI, metrics: ServingMetrics) -> None:
    @app.exception_handler(RewardError)
    async def known(request: Request, error: RewardError) -> Response:
        if error.item is None:  # an item's is counted where it arose
            metrics.error(error.code)
        return told(error, request.scope)

    @app.exception_handler(HTTPException)
    async def of_the_router(request: Request, error: HTTPException) -> Response:
        return http_response(error, request_id_of(request))


def _document_bodies(app: FastAPI) -> None:
    """Bodies are parsed by hand, so FastAPI must be given their schemas."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            generate()["components"]["schemas"] |= request_schemas()
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
