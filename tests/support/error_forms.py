"""Forms in which the clients of each dialect read a failed request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Form = Callable[[Any, int], bool]
"""Whether a body has the form of an error of that status."""


def of_ours(body: Any, status: int) -> bool:
    return set(body["error"]) == {"code", "message", "item"}


def of_openai(body: Any, status: int) -> bool:
    error = body["error"]
    known = {"message": str, "type": str, "param": type(None), "code": int}
    return {k: type(v) for k, v in error.items()} == known and bool(error["code"] == status)


def of_openai_flat(body: Any, status: int) -> bool:
    return body["object"] == "error" and of_openai(
        {"error": {key: body[key] for key in body if key != "object"}}, status
    )


def of_infinity(body: Any, status: int) -> bool:
    return bool(body == {"detail": "Unauthorized"}) if status == 401 else of_openai(body, status)


def of_sglang(body: Any, status: int) -> bool:
    return set(body) == {"error"} and set(body["error"]) == {"message"}


def of_tei(body: Any, status: int) -> bool:
    kinds = {
        400: "Empty",
        413: "Validation",
        422: "Validation",
        429: "Overloaded",
        503: "Unhealthy",
    }
    return isinstance(body["error"], str) and body["error_type"] == kinds.get(status, "Backend")


def of_triton(body: Any, status: int) -> bool:
    return body.keys() == {"error"} and isinstance(body["error"], str)
