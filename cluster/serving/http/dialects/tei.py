"""text-embeddings-inference: `POST /predict`.

The score is the sigmoid of the logit, as this protocol documents, unless `raw_scores` is true. A
list of two texts is one pair (a user's message and the answer), a list of lists is a batch.
"""

from __future__ import annotations

from typing import Any

from cluster import __version__
from cluster.config import HttpConfig
from cluster.data.call_results import or_error
from cluster.errors import EmptyInput, InvalidInput, RewardError
from cluster.serving.http.dialects.endpoint import (
    Body,
    Description,
    Endpoint,
    Parsed,
    Probe,
    Rewarded,
    sigmoid,
)
from cluster.serving.http.dialects.fields import CUT_BY_THE_SERVICE, flag, text
from cluster.serving.http.errors import sendable
from cluster.types import Conversation, ModelInfo

STATUSES = {400: 422, 500: 424}
"""The protocol's own, where they differ: for what is malformed, and for the model's failures."""
LABEL = "LABEL_0"
TYPES = {413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy"}
"""`error_type` by status; any other is Backend."""


def _parse(body: Body) -> Parsed:
    if flag(body, "truncate", default=False):
        raise InvalidInput(f"`truncate` must be false or null; {CUT_BY_THE_SERVICE}")
    raw, inputs = flag(body, "raw_scores", default=False), body["inputs"]
    if isinstance(inputs, list) and any(isinstance(each, list) for each in inputs):
        return Parsed((or_error(_item, each) for each in inputs), (raw, True))
    return Parsed([_item(inputs)], (raw, False))


def _item(value: Any) -> Conversation:
    """A text, or a list of one or two. Raises InvalidInput."""
    parts = value if isinstance(value, list) else [value]
    if len(parts) not in (1, 2):
        raise InvalidInput(f"`inputs`: a text or a pair of two, not a list of {len(parts)}")
    found = [text(each, "inputs") for each in parts]
    return found[0] if len(found) == 1 else (found[0], found[1])


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    raw, batch = parsed.form
    found = [classes(reward, raw) for reward in rewarded.rewards_N]
    return found if batch else found[0]


def classes(reward: float, raw: bool) -> list[dict[str, Any]]:
    """The one label of a reward model."""
    return [{"score": reward if raw else sigmoid(reward), "label": LABEL}]


def _info(info: ModelInfo, config: HttpConfig, created: int) -> Any:
    labels = {"id2label": {"0": LABEL}, "label2id": {LABEL: 0}}
    return {
        "model_id": info.model,
        "model_sha": info.revision,
        "model_dtype": info.dtype,
        "model_type": {"classifier": labels},
        "max_concurrent_requests": config.max_requests,
        "max_input_length": info.max_tokens,
        "max_client_batch_size": config.max_items,
        "version": __version__,
    }


def _error(failed: RewardError) -> tuple[int, Any]:
    message = sendable(str(failed))
    if isinstance(failed, EmptyInput):
        return failed.http_status, {"error": message, "error_type": "Empty"}
    status = STATUSES.get(failed.http_status, failed.http_status)
    return status, {"error": message, "error_type": TYPES.get(status, "Backend")}


ENDPOINTS = (Endpoint(("/predict",), frozenset({"inputs"}), _parse, _render, _error),)
PROBES = (Probe(("/health",), lambda config: None, _error, when_ready=True),)
DESCRIPTIONS = (Description(("/info",), _info, _error),)
