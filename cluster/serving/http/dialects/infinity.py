"""infinity: `POST /classify` of `input`, told from vLLM's by the key `raw_scores`.

The score is the sigmoid of the logit, as this protocol documents, unless `raw_scores` is true.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from cluster.errors import RewardError, Unauthorized
from cluster.serving.http.dialects.endpoint import Body, Endpoint, Parsed, Probe, Rewarded
from cluster.serving.http.dialects.fields import flag, required, texts
from cluster.serving.http.dialects.tei import classes
from cluster.serving.http.errors import sendable


def _parse(body: Body) -> Parsed:
    raw = flag(body, "raw_scores", default=False)
    return Parsed(texts(required(body, "input"), "input"), raw)


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    return {
        "object": "classify",
        "data": [classes(reward, parsed.form) for reward in rewarded.rewards_N],
        "model": rewarded.model,
        "usage": {"prompt_tokens": rewarded.n_tokens, "total_tokens": rewarded.n_tokens},
        "id": f"infinity-{rewarded.request_id}",
        "created": rewarded.created,
    }


def _error(failed: RewardError) -> tuple[int, Any]:
    status = failed.http_status
    if isinstance(failed, Unauthorized):
        return status, {"detail": "Unauthorized"}
    message = sendable(str(failed))
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Client closed request"
    return status, {"error": {"message": message, "type": phrase, "param": None, "code": status}}


ENDPOINTS = (
    Endpoint(("/classify",), frozenset({"raw_scores"}), _parse, _render, _error),
    Endpoint(("/infinity/classify",), frozenset({"input"}), _parse, _render, _error),
)
PROBES = (Probe(("/health",), lambda config: None, _error, when_ready=True),)
