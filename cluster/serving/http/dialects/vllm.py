"""vLLM: `/classify`, `/pooling`, `/score`, `/rerank` and their aliases.

The number is the raw logit; `use_activation: true` (`activation` in old clients) makes it the
sigmoid, which vLLM itself applies to most one-label models unasked. A pair of `/score` and
`/rerank` is a user's message and the assistant's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.config import HttpConfig
from cluster.errors import InvalidInput, RewardError
from cluster.serving.http.dialects.endpoint import (
    Asked,
    Body,
    Description,
    Endpoint,
    Parsed,
    Probe,
    Rewarded,
    sigmoid,
)
from cluster.serving.http.dialects.fields import (
    CUT_BY_THE_SERVICE,
    base64_asked,
    flag,
    messages,
    packed,
    pairs,
    priority,
    required,
    text,
    texts_or_ids,
)
from cluster.serving.http.errors import sendable
from cluster.serving.http.json_body import kind
from cluster.types import ModelInfo

TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}
"""Of an error by its status; any other is an InternalServerError."""
TO_THE_MODELS_MOST = -1
"""`truncate_prompt_tokens` that changes nothing here: whether what is longer than the model takes
is cut or refused, says `engine.truncate`."""


@dataclass(frozen=True, slots=True)
class _Form:
    activate: bool = False
    base64: bool = False
    documents: Sequence[Any] = ()
    top_n: int = 0


def error(failed: RewardError) -> tuple[int, Any]:
    """A request that is too long is a 400 here, as any other bad one."""
    status = 400 if isinstance(failed, InvalidInput) else failed.http_status
    message = sendable(str(failed))
    kind_of = TYPES.get(status, "InternalServerError")
    body = {"message": message, "type": kind_of, "param": None, "code": status}
    return status, {"error": body}


def _parse_input(body: Body) -> Parsed:
    """Of /classify and /pooling."""
    if body.get("task") not in (None, "classify"):
        raise InvalidInput("`task` must be classify: a reward model has one number for a text")
    form = _Form(_activated(body), base64_asked(body))
    return Parsed(_conversations(body), form, _priority(body))


def _conversations(body: Body) -> Asked:
    flag(body, "add_special_tokens", default=True)  # a BOS follows the model's policy either way
    if body.get("messages") is None:
        found, _ = texts_or_ids(required(body, "input"), "input")
        return (_truncated(each, body) for each in found)
    for name in ("add_generation_prompt", "continue_final_message"):
        if flag(body, name, default=False):
            raise InvalidInput(f"`{name}` must be false: the last answer is judged as it stands")
    for name in ("chat_template", "chat_template_kwargs"):
        if body.get(name):
            raise InvalidInput(f"`{name}` is not taken: the model's own chat template is used")
    if body.get("truncate_prompt_tokens") not in (None, TO_THE_MODELS_MOST):
        raise InvalidInput("`truncate_prompt_tokens` is taken with lists of ids only")
    return [messages(body["messages"])]


def _truncated(conversation: Any, body: Body) -> Any:
    """Ids cut to `truncate_prompt_tokens`; text is cut by the service's own `engine.truncate`."""
    most, side = body.get("truncate_prompt_tokens"), body.get("truncation_side", "left")
    if most in (None, TO_THE_MODELS_MOST) or isinstance(conversation, InvalidInput):
        return conversation
    if type(most) is not int or most < 1 or not isinstance(conversation, np.ndarray):
        raise InvalidInput(
            "`truncate_prompt_tokens` must be -1, or a whole number above 0 beside lists of ids; "
            f"{CUT_BY_THE_SERVICE}"
        )
    if side not in (None, "left", "right"):
        raise InvalidInput("`truncation_side` must be left or right")
    return conversation[:most] if side == "right" else conversation[-most:]


def _parse_score(body: Body) -> Parsed:
    first = required(body, "queries", "text_1", "data_1")
    second = required(body, "documents", "items", "text_2", "data_2")
    found = pairs(first, second, ("queries", "documents"))
    return Parsed(found, _Form(_activated(body)), _priority(body))


def _parse_rerank(body: Body) -> Parsed:
    query, given = text(body["query"], "query"), required(body, "documents")
    if not isinstance(given, list) or not given:
        raise InvalidInput("`documents` must be a list of at least one text")
    found = [each.get("text") if isinstance(each, dict) else each for each in given]
    top_n = body.get("top_n") or 0
    if type(top_n) is not int or top_n < 0:
        raise InvalidInput(f"`top_n` must be a whole number from 0, not {kind(top_n)}")
    form = _Form(_activated(body), documents=found, top_n=top_n)
    return Parsed(pairs(query, found, ("query", "documents")), form, _priority(body))


def _activated(body: Body) -> bool:
    return flag(body, "use_activation", "activation", default=False)


def _priority(body: Body) -> int:
    """Lower is sooner in vLLM."""
    return -priority(body)


def _listing(prefix: str, entry: Callable[[int, float, _Form], dict[str, Any]]) -> Any:
    def render(parsed: Parsed, rewarded: Rewarded) -> Any:
        data = [entry(i, value, parsed.form) for i, value in enumerate(_values(parsed, rewarded))]
        return {
            "id": f"{prefix}-{rewarded.request_id}",
            "object": "list",
            "created": rewarded.created,
            "model": rewarded.model,
            "data": data,
            "usage": {**_usage(rewarded), "completion_tokens": 0, "prompt_tokens_details": None},
        }

    return render


def _render_rerank(parsed: Parsed, rewarded: Rewarded) -> Any:
    form: _Form = parsed.form
    values = _values(parsed, rewarded)
    order = sorted(range(len(values)), key=lambda i: -values[i])
    return {
        "id": f"rerank-{rewarded.request_id}",
        "model": rewarded.model,
        "usage": _usage(rewarded),
        "results": [
            {"index": i, "document": {"text": form.documents[i]}, "relevance_score": values[i]}
            for i in order[: form.top_n or None]
        ],
    }


def _values(parsed: Parsed, rewarded: Rewarded) -> list[float]:
    if parsed.form.activate:
        return [sigmoid(reward) for reward in rewarded.rewards_N]
    return list(rewarded.rewards_N)


def _usage(rewarded: Rewarded) -> dict[str, Any]:
    return {"prompt_tokens": rewarded.n_tokens, "total_tokens": rewarded.n_tokens}


def class_entry(index: int, value: float, form: Any = None) -> dict[str, Any]:
    """An entry of /classify."""
    return {"index": index, "label": "LABEL_0", "probs": [value], "num_classes": 1}


def _pooled(index: int, value: float, form: _Form) -> dict[str, Any]:
    return {"index": index, "object": "pooling", "data": packed(value, form.base64)}


def _scored(index: int, value: float, form: _Form) -> dict[str, Any]:
    return {"index": index, "object": "score", "score": value}


def models(info: ModelInfo, config: HttpConfig, created: int) -> Any:
    """OpenAI's list of models, with vLLM's `max_model_len`."""
    card = {
        "id": info.model,
        "object": "model",
        "created": created,
        "owned_by": "reward-cluster",
        "root": info.model,
        "parent": None,
        "max_model_len": info.max_tokens,
        "permission": [],
    }
    return {"object": "list", "data": [card]}


INPUT = frozenset({"input", "messages"})
PAIRS = frozenset({"queries", "text_1", "data_1"})
ENDPOINTS = (
    Endpoint(
        ("/classify", "/v1/classify", "/invocations"),
        INPUT,
        _parse_input,
        _listing("classify", class_entry),
        error,
    ),
    Endpoint(("/pooling",), INPUT, _parse_input, _listing("pool", _pooled), error),
    Endpoint(
        ("/score", "/v1/score", "/invocations"),
        PAIRS,
        _parse_score,
        _listing("score", _scored),
        error,
    ),
    Endpoint(
        ("/rerank", "/v1/rerank", "/v2/rerank", "/invocations"),
        frozenset({"query"}),
        _parse_rerank,
        _render_rerank,
        error,
    ),
)
PROBES = (Probe(("/health",), lambda config: None, error, when_ready=True),)
DESCRIPTIONS = (Description(("/v1/models",), models, error),)
