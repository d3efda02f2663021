"""HTTP errors: the one place where an error becomes a response.

One class = one status = one metric label, all three from `cluster.errors`. Any other error is
opaque: the client gets a request id, the log gets everything. A dialect's clients get either kind
in the dialect's own form, which the request carries (`use_form`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.types import Scope

from cluster.errors import Overloaded, RewardError, Unauthorized, all_error_classes

ErrorForm = Callable[[RewardError], tuple[int, Any]]
"""The status and JSON value that a dialect's clients expect for a failed request."""
_FORM = "error_form"
MEANING = {
    400: "The body or an item is malformed; the message says what to change.",
    401: "No key, or a wrong one.",
    408: "The request did not arrive in time.",
    413: "More tokens, bytes or items than is allowed.",
    429: "The queue is full. Retry after the seconds in `Retry-After`.",
    499: "The caller gave up first.",
    500: "Scoring failed; asking again will not help. The service's log has the request id.",
    503: "No replica serves yet, or any more, or the model is being replaced just now.",
    504: "The deadline passed before everything was scored.",
}
"""Every status of an error class, for the OpenAPI document."""
UNREAD = (408, 413)
"""After these the rest of the body may still arrive, so the connection cannot be used again."""
PASSING = (429, 503, 504)
"""Temporary failures, not the request's fault: a retry may succeed."""


def detail(error: RewardError) -> dict[str, Any]:
    """The JSON form of an error, the same for an item and for a whole call."""
    return {"code": error.code, "message": sendable(error.message), "item": error.item}


def sendable(message: str) -> str:
    """The message of an error as valid UTF-8, whatever it quotes."""
    return message.encode(errors="backslashreplace").decode()


def use_form(scope: Scope, form: ErrorForm | None) -> None:
    """From here on, errors of this request have `form`; None is the native one."""
    scope["state"][_FORM] = form


def told(error: RewardError, scope: Scope) -> Response:
    """`error` as the answer to the request, in its form."""
    form: ErrorForm | None = scope["state"].get(_FORM)
    if form is None:
        return error_response(error, scope["state"]["request_id"])
    status, body = form(error)
    return _json(status, body, error_headers(error))


def error_response(
    error: RewardError, request_id: str, results: Sequence[Any] | None = None
) -> Response:
    """`error` as the native answer to the whole call. results: what is known of the individual
    items."""
    body: dict[str, Any] = {"error": detail(error), "request_id": request_id}
    if results is not None:
        body["results"] = results
    return _json(error.http_status, body, error_headers(error))


def http_response(error: HTTPException, request_id: str) -> Response:
    """The router's own errors (no such path, wrong method), in the same form."""
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_")
    body = {"error": {"code": code, "message": phrase, "item": None}, "request_id": request_id}
    return _json(error.status_code, body, dict(error.headers or {}))


def unexpected(request_id: str) -> RewardError:
    """What a client learns of an unexpected error."""
    return RewardError(f"internal error; the service's log has it under request id {request_id}")


def representative_error(errors: Sequence[RewardError]) -> RewardError:
    """The error that stands for a call in which nothing was scored.

    The first temporary one, since a retry may help; else the first.
    """
    passing = (error for error in errors if error.http_status in PASSING)
    return next(passing, errors[0])


def error_statuses() -> dict[int, list[str]]:
    """Every status an error class has, with the classes' codes."""
    found: dict[int, list[str]] = {}
    for cls in all_error_classes():
        found.setdefault(cls.http_status, []).append(cls.code)
    return dict(sorted(found.items()))


def request_id_of(request: Request) -> str:
    """The id that `middleware` gave the request."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id


def retry_after(error: Overloaded) -> dict[str, str]:
    """The header that says when to come back."""
    return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}


def error_headers(error: RewardError) -> dict[str, str]:
    """The headers that go with `error`, whatever the form of its body."""
    if isinstance(error, Overloaded):
        return retry_after(error)
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if error.http_status in UNREAD:
        return {"Connection": "close"}
    return {}


def _json(status: int, body: Any, headers: dict[str, str]) -> Response:
    return Response(to_json(body), status, headers, media_type="application/json")
