"""Answer of a dialect: one handler for all endpoints, from the request to its response.

Protocols without a place for an item's error fail as a whole, with the status that stands for all
and the index of the item in the message. No number stands for a failure, unless `reward_for_failed`
names one for permanent failures, whose items are then listed in `X-Failed-Items`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import to_json

from cluster.config import HttpConfig
from cluster.data.call_results import or_error
from cluster.errors import InvalidInput, NotReady, RewardError
from cluster.serving.http.auth import Credentials, require_key
from cluster.serving.http.dialects.endpoint import (
    Body,
    Content,
    Description,
    Endpoint,
    Parsed,
    Probe,
    Rewarded,
)
from cluster.serving.http.dialects.retemplate import untemplated
from cluster.serving.http.dialects.table import (
    NATIVE,
    by_path,
    descriptions,
    probes,
    taking,
)
from cluster.serving.http.errors import PASSING, representative_error, request_id_of, use_form
from cluster.serving.http.request_parser import flat_query
from cluster.serving.http.service import Service
from cluster.types import Conversation, Score

FAILED_ITEMS = "X-Failed-Items"
"""Indices of the items whose reward is `http.reward_for_failed`, comma-separated."""


def dialect_routes(service: Service) -> APIRouter:
    """Every path of `http.dialects`, each behind the key."""
    routes = APIRouter(include_in_schema=False)
    for path, endpoints in by_path(service.config.dialects).items():
        if path != NATIVE:
            methods = sorted({method for each in endpoints for method in each.methods})
            routes.add_api_route(path, _handler(service, endpoints), methods=methods)
    return routes


def description_routes(service: Service) -> APIRouter:
    """The descriptions of `http.dialects`, each behind the key."""
    key = Depends(require_key(service.keys, service.config.open_to_network))
    routes = APIRouter(include_in_schema=False, dependencies=[key])
    for path, description in descriptions(service.config.dialects).items():
        routes.add_api_route(path, _describer(service, description), methods=["GET"])
    return routes


def probe_routes(service: Service) -> APIRouter:
    """The probes of `http.dialects`, without a key."""
    routes = APIRouter(include_in_schema=False)
    for path, probe in probes(service.config.dialects).items():
        routes.add_api_route(path, _prober(service, probe), methods=list(probe.methods))
    return routes


def _prober(service: Service, probe: Probe) -> Any:
    async def handle(request: Request) -> Response:
        use_form(request.scope, probe.error)  # the path may be a pattern
        if probe.when_ready and not await service.ready():
            # Answered, not counted: an orchestrator's probes are no errors.
            status, body = probe.error(NotReady("no replica serves yet"))
        else:
            status, body = probe.status, probe.answer(service.config)
        content = b"" if body is None else to_json(body)
        return Response(content, status, media_type=None if body is None else "application/json")

    return handle


def _describer(service: Service, description: Description) -> Any:
    async def handle() -> Response:
        info = await service.scorer.info()
        answer = description.answer(info, service.config, int(time.time()))
        return Response(to_json(answer), media_type="application/json")

    return handle


def _handler(service: Service, endpoints: Sequence[Endpoint]) -> Any:
    check_key = require_key(service.keys, service.config.open_to_network)

    async def handle(request: Request, credentials: Credentials) -> Response:
        await check_key(request, credentials)
        content = await service.bodies.read(request)
        body = endpoints[0].decode(content, request.headers)
        endpoint = taking(endpoints, body)
        if endpoint is None:
            keys = sorted({f"`{key}`" for each in endpoints for key in each.keys})
            raise InvalidInput(f"the body must have one of {', '.join(keys)}")
        use_form(request.scope, endpoint.error)
        return await answer(service, endpoint, body, request_id_of(request))

    return handle


async def answer(service: Service, endpoint: Endpoint, body: Body, request_id: str) -> Response:
    """The response to `body` as `endpoint`'s clients read it. Raises the RewardError that stands
    for the request."""
    parsed = endpoint.parse(body)
    first = islice(parsed.conversations_N, service.config.max_items + 1)
    conversations = [_own(each, service.config) for each in first]
    query = flat_query(conversations, parsed.priority, service.config)
    results = await service.results(query)
    return _rendered(endpoint, parsed, results, service.config.reward_for_failed, request_id)


def _rendered(
    endpoint: Endpoint,
    parsed: Parsed,
    results_N: Sequence[Score | RewardError],
    instead: float | None,
    request_id: str,
) -> Response:
    """instead: the reward of a permanent failure. Raises the RewardError that stands for the
    request where an item has no reward."""
    errors = [r.at(i) for i, r in enumerate(results_N) if isinstance(r, RewardError)]
    if instead is None:
        instead, unanswered = math.nan, errors
    else:
        unanswered = [error for error in errors if error.http_status in PASSING]
    if unanswered:
        raise representative_error(unanswered)
    scores = [None if isinstance(r, RewardError) else r for r in results_N]
    rewards = [instead if score is None else score.reward for score in scores]
    model = next((score.model for score in scores if score is not None), "")
    rewarded = Rewarded(rewards, scores, model, request_id, int(time.time()))
    headers = {FAILED_ITEMS: ",".join(str(e.item) for e in errors)} if errors else {}
    made = endpoint.render(parsed, rewarded)
    if not isinstance(made, Content):
        made = Content(to_json(made), "application/json")
    return Response(made.body, headers=headers | dict(made.headers), media_type=made.media_type)


def _own(
    conversation: Conversation | InvalidInput, config: HttpConfig
) -> Conversation | InvalidInput:
    if isinstance(conversation, InvalidInput):
        return conversation
    return or_error(untemplated, conversation, config.retemplate)
