"""SGLang: `/classify` of `text` or `input_ids`, and `/v1/embeddings` as verl's router reads it.

Raw logits throughout. (SGLang's own `/v1/classify` takes a softmax, which is 1.0 for every text
where a model has one label; that path answers in vLLM's form.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.config import HttpConfig
from cluster.errors import InvalidInput, RewardError
from cluster.serving.http.dialects.endpoint import (
    Body,
    Description,
    Endpoint,
    Parsed,
    Probe,
    Rewarded,
)
from cluster.serving.http.dialects.fields import (
    base64_asked,
    packed,
    priority,
    required,
    texts_or_ids,
)
from cluster.serving.http.dialects.vllm import error as openai_error
from cluster.serving.http.dialects.vllm import models
from cluster.serving.http.errors import sendable
from cluster.types import ModelInfo


@dataclass(frozen=True, slots=True)
class _Form:
    single: bool
    ids: list[str] | None


def _parse(body: Body) -> Parsed:
    name = "text" if body.get("text") is not None else "input_ids"
    if name == "text" and body.get("input_ids") is not None:
        raise InvalidInput("give `text` or `input_ids`, not both")
    found, single = texts_or_ids(required(body, name), name)
    n_items = 1 if single else len(body[name])
    return Parsed(found, _Form(single, _ids_of(body.get("rid"), n_items)), priority(body))


def _ids_of(rid: Any, n_items: int) -> list[str] | None:
    """The client's own id of each item, where it gave one. Raises InvalidInput."""
    if rid is None:
        return None
    given = [rid] if isinstance(rid, str) else rid
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise InvalidInput("`rid` must be a text or a list of texts")
    if len(given) == 1 < n_items and isinstance(rid, str):
        return [f"{rid}_{i}" for i in range(n_items)]
    if len(given) != n_items:
        raise InvalidInput("`rid` must be one text, or one for each item")
    return given


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    entries = [
        {"embedding": [reward], "meta_info": _meta(i, parsed.form, rewarded)}
        for i, reward in enumerate(rewarded.rewards_N)
    ]
    return entries[0] if parsed.form.single else entries


def _meta(index: int, form: _Form, rewarded: Rewarded) -> dict[str, Any]:
    score = rewarded.scores_N[index]
    return {
        "id": form.ids[index] if form.ids else f"{rewarded.request_id}-{index}",
        "prompt_tokens": score.n_tokens if score else 0,
        "e2e_latency": score.queue_s + score.forward_s if score else 0.0,
    }


def _parse_embeddings(body: Body) -> Parsed:
    found, _ = texts_or_ids(required(body, "input"), "input")
    return Parsed(found, base64_asked(body), priority(body))


def _render_embeddings(parsed: Parsed, rewarded: Rewarded) -> Any:
    return {
        "object": "list",
        "model": rewarded.model,
        "data": [
            {"index": i, "object": "embedding", "embedding": packed(reward, parsed.form)}
            for i, reward in enumerate(rewarded.rewards_N)
        ],
        "usage": {"prompt_tokens": rewarded.n_tokens, "total_tokens": rewarded.n_tokens},
    }


def _model_info(info: ModelInfo, config: HttpConfig, created: int) -> Any:
    return {
        "model_path": info.model,
        "tokenizer_path": info.model,
        "is_generation": False,
        "preferred_sampling_params": None,
        "weight_version": info.revision,
    }


def _error(failed: RewardError) -> tuple[int, Any]:
    status = 400 if isinstance(failed, InvalidInput) else failed.http_status
    message = sendable(str(failed))
    return status, {"error": {"message": message}}


def _openai_error(failed: RewardError) -> tuple[int, Any]:
    """As vLLM's, but flat: the form of SGLang's OpenAI routes."""
    status, body = openai_error(failed)
    return status, {"object": "error", **body["error"]}


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
        ("/v1/embeddings",),
        frozenset({"input"}),
        _parse_embeddings,
        _render_embeddings,
        _openai_error,
    ),
)
PROBES = (Probe(("/health", "/health_generate"), lambda config: None, _error, when_ready=True),)
DESCRIPTIONS = (
    Description(("/model_info", "/get_model_info"), _model_info, _error),
    Description(("/v1/models",), models, _openai_error),
)
