"""Inspection routes: the tokens of chats, the state of the service.

They cost no forward, and want a key as scoring does.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from cluster.serving.http import schemas
from cluster.serving.http.errors import request_id_of
from cluster.serving.http.inspector import Inspector
from cluster.serving.http.request_parser import score_query
from cluster.serving.http.responses import tokenize_response
from cluster.serving.http.routes import guarded_routes
from cluster.serving.http.service import Service
from cluster.serving.status import as_record


def inspection_routes(service: Service, inspector: Inspector) -> APIRouter:
    """/v1/tokenize and /v1/status."""
    routes = guarded_routes(service, "inspection")

    @routes.post(
        "/tokenize",
        summary="Tokens of conversations",
        response_model=schemas.TokenizeResponse,
        openapi_extra=schemas.request_body(schemas.ScoreRequest, schemas.SCORE_EXAMPLE),
    )
    async def tokenize(request: Request) -> Response:
        """What the model would read of every conversation: the ids of its templated text, and what
        each stands for. The body is that of /v1/score; nothing is scored."""
        query = score_query(await service.body(request), service.config)
        with service.door.passed(query.least_tokens):
            results = await service.each_valid(
                query, lambda valid: inspector.tokenize(valid, deadline_s=query.deadline_s)
            )
        return tokenize_response(query, results, request_id_of(request))

    @routes.get("/status", summary="The service's state", response_model=None)
    async def status() -> dict[str, Any]:
        """Deployments, models, queue and totals since the start: what `reward-cluster status`
        shows. Totals are counters; differences of two answers are rates."""
        return as_record(await inspector.status())

    return routes
