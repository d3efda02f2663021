"""SGLang: `/classify` of `text` or `input_ids`, and `/v1/embeddings` as verl's router reads it.

Raw logits throughout. (SGLang's own `/v1/classify` takes a softmax, which is 1.0 for every text
where a model has one label; that path answers in vLLM's form.)
"""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidInput, RewardError
from cluster.serving.http.dialects.endpoint import Body, Endpoint, Parsed, Rewarded
from cluster.serving.http.dialects.fields import inverse_priority, required, texts_or_ids
from cluster.serving.http.errors import sendable


def _parse(body: Body) -> Parsed:
    name = "text" if body.get("text") is not None else "input_ids"
    found, single = texts_or_ids(required(body, name), name)
    return Parsed(found, single, inverse_priority(body))


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    entries = [
        {"embedding": [reward], "meta_info": _meta(i, rewarded)}
        for i, reward in enumerate(rewarded.rewards_N)
    ]
    return entries[0] if parsed.form else entries


def _meta(index: int, rewarded: Rewarded) -> dict[str, Any]:
    score = rewarded.scores_N[index]
    return {
        "id": f"{rewarded.request_id}-{index}",
        "prompt_tokens": score.n_tokens if score else 0,
        "e2e_latency": score.queue_s + score.forward_s if score else 0.0,
    }


def _parse_embeddings(body: Body) -> Parsed:
    found, _ = texts_or_ids(required(body, "input"), "input")
    return Parsed(found, priority=inverse_priority(body))


def _render_embeddings(parsed: Parsed, rewarded: Rewarded) -> Any:
    return {
        "object": "list",
        "model": rewarded.model,
        "data": [
            {"index": i, "object": "embedding", "embedding": [reward]}
            for i, reward in enumerate(rewarded.rewards_N)
        ],
        "usage": {"prompt_tokens": rewarded.n_tokens, "total_tokens": rewarded.n_tokens},
    }


def _error(failed: RewardError) -> tuple[int, Any]:
    status = 400 if isinstance(failed, InvalidInput) else failed.http_status
    message = sendable(str(failed))
    return status, {"error": {"message": message}}


ENDPOINTS = (
    Endpoint(
        ("/classify",),
        frozenset({"text", "input_ids"}),
        _parse,
        _render,
        _error,
        ("POST", "PUT"),
    ),
    Endpoint(
        ("/v1/embeddings",), frozenset({"input"}), _parse_embeddings, _render_embeddings, _error
    ),
)
