"""LLaMA-Factory: `reward_model_type: api`, a list of templated texts as `messages`."""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidInput
from cluster.serving.http.dialects.endpoint import Body, Endpoint, Parsed, Rewarded, plain_error
from cluster.serving.http.dialects.fields import CUT_BY_THE_SERVICE, texts


def _parse(body: Body) -> Parsed:
    if body.get("max_length") is not None:
        raise InvalidInput(f"`max_length` must be null; {CUT_BY_THE_SERVICE}")
    return Parsed(texts(body["messages"], "messages"))


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    return {
        "id": f"scoreval-{rewarded.request_id}",
        "object": "score.evaluation",
        "model": rewarded.model,
        "scores": list(rewarded.rewards_N),
    }


ENDPOINTS = (
    Endpoint(
        ("/v1/score/evaluation", "/get_reward"),
        frozenset({"messages"}),
        _parse,
        _render,
        plain_error,
    ),
)
