"""Native routes: score, rank, model, health.

A route parses, calls the scorer and renders; each of the three is a module of its own.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from cluster.errors import NotReady
from cluster.serving.http import schemas
from cluster.serving.http.auth import require_key
from cluster.serving.http.dialects.answer import answer
from cluster.serving.http.dialects.table import NATIVE, by_path, taking
from cluster.serving.http.errors import (
    MEANING,
    error_response,
    error_statuses,
    request_id_of,
    use_form,
)
from cluster.serving.http.request_parser import rank_query, score_query
from cluster.serving.http.responses import rank_response, score_response
from cluster.serving.http.service import Service
from cluster.types import ModelInfo


def native_routes(service: Service) -> APIRouter:
    """The routes under /v1, which require a key, and those for probes, which do not."""
    routes = APIRouter()
    routes.include_router(_v1(service))
    routes.include_router(_health(service))
    return routes


def guarded_routes(service: Service, tag: str) -> APIRouter:
    """An empty router under /v1 whose routes require a key."""
    key = Depends(require_key(service.keys, service.config.open_to_network))
    return APIRouter(prefix="/v1", dependencies=[key], tags=[tag], responses=_failures())


def _v1(service: Service) -> APIRouter:
    config = service.config
    routes = guarded_routes(service, "rewards")
    others = by_path(config.dialects).get(NATIVE, ())

    @routes.post(
        "/score",
        summary="Score conversations",
        response_model=schemas.ScoreResponse,
        openapi_extra=schemas.request_body(schemas.ScoreRequest, schemas.SCORE_EXAMPLE),
    )
    async def score(request: Request) -> Response:
        """A reward for every conversation, in order; an item that cannot be scored has an
        error in its place and does not affect the others. If nothing can be scored, the call fails
        with an error's status (429, 503 and 504 before others) and lists every item's error."""
        body = await service.body(request)
        if other := taking(others, body):
            use_form(request.scope, other.error)
            return await answer(service, other, body, request_id_of(request))
        query = score_query(body, config)
        results = await service.results(query)
        return score_response(query, results, request_id_of(request))

    @routes.post(
        "/rank",
        summary="Rank responses to one prompt",
        response_model=schemas.RankResponse,
        openapi_extra=schemas.request_body(schemas.RankRequest, schemas.RANK_EXAMPLE),
    )
    async def rank(request: Request) -> Response:
        """Responses best first by raw reward; of equal ones the one given first; errors last."""
        query = rank_query(await service.body(request), config)
        results = await service.results(query)
        return rank_response(query, results, request_id_of(request))

    @routes.get("/model", summary="The served model")
    async def model() -> ModelInfo:
        """What a replica has loaded."""
        return await service.scorer.info()

    return routes


def _health(service: Service) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.head("/healthz", include_in_schema=False, response_model=None)
    @routes.get("/healthz", summary="The process answers")
    async def healthz() -> schemas.Health:
        """200 as long as this process runs."""
        return schemas.Health(status="ok")

    @routes.head("/readyz", include_in_schema=False, response_model=None)
    @routes.get(
        "/readyz",
        summary="A replica serves",
        response_model=schemas.Health,
        responses=_failures(503),
    )
    async def readyz(request: Request) -> Response | schemas.Health:
        """200 once a replica can score; 503 until then, while there is none, and while the service
        shuts down."""
        if await service.ready():
            return schemas.Health(status="ready")
        # Answered, not raised: an orchestrator's probes are no errors to count.
        no_replica = NotReady("no replica serves yet; wait, or see the replicas' log")
        return error_response(no_replica, request_id_of(request))

    return routes


def _failures(*only: int) -> dict[int | str, dict[str, Any]]:
    """Error responses for the OpenAPI document, from the error classes themselves."""
    return {
        status: {
            "model": schemas.ErrorResponse,
            "description": f"{MEANING[status]} Codes: {', '.join(f'`{c}`' for c in codes)}.",
        }
        for status, codes in error_statuses().items()
        if not only or status in only
    }
