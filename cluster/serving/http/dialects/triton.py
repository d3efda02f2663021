"""Triton / KServe v2: the `reward_model` of NVIDIA's NeMo-Aligner, as JSON tensors.

Inputs: `sentences` BYTES [N], or `tokens` INT64 [N, T] with `sequence_lengths` INT64 [N, 1].
Output: `rewards` FP32 [N, 1]. The binary tensor extension is not spoken: clients set
`binary_data=False`.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from cluster.data.call_results import or_error
from cluster.errors import InvalidInput, RewardError
from cluster.serving.http.dialects.endpoint import Asked, Body, Endpoint, Parsed, Rewarded
from cluster.serving.http.dialects.fields import texts, token_ids
from cluster.serving.http.errors import sendable
from cluster.types import Conversation


def _parse(body: Body) -> Parsed:
    inputs = _inputs(body["inputs"])
    identifier = body.get("id") if isinstance(body.get("id"), str) else None
    if "sentences" in inputs:
        return Parsed(texts(_flat(inputs["sentences"]), "sentences"), identifier)
    if {"tokens", "sequence_lengths"} <= inputs.keys():
        return Parsed(_sequences(inputs["tokens"], inputs["sequence_lengths"]), identifier)
    raise InvalidInput("give the input `sentences`, or `tokens` with `sequence_lengths`")


def _inputs(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InvalidInput("`inputs` must be a list of tensors {name, shape, datatype, data}")
    return {str(each.get("name")): each for each in value}


def _flat(tensor: dict[str, Any]) -> list[Any]:
    """The elements in row-major order. Raises InvalidInput where they are not in the JSON."""
    data = tensor.get("data")
    if not isinstance(data, list):
        raise InvalidInput(
            f"the input {str(tensor.get('name'))[:40]!a} has no `data`; send JSON tensors "
            "(`binary_data=False`)"
        )
    while data and all(isinstance(each, list) for each in data):
        data = list(chain.from_iterable(data))
    return data


def _sequences(tokens: dict[str, Any], lengths: dict[str, Any]) -> Asked:
    """Rows of `tokens` without their padding, which stands behind them."""
    shape, flat, taken = tokens.get("shape"), _flat(tokens), _flat(lengths)
    if not isinstance(shape, list) or len(shape) != 2 or any(type(n) is not int for n in shape):
        raise InvalidInput("`tokens` must have a shape of two whole numbers")
    n_rows, width = shape
    if n_rows < 0 or width < 0 or n_rows * width != len(flat) or n_rows != len(taken):
        raise InvalidInput(
            "`tokens` must have the elements of its shape, and `sequence_lengths` one per row"
        )
    rows = [flat[i * width : (i + 1) * width] for i in range(n_rows)]
    return [or_error(_sequence, ids, n) for ids, n in zip(rows, taken, strict=True)]


def _sequence(ids: list[Any], length: Any) -> Conversation:
    if type(length) is not int or not 0 < length <= len(ids):
        raise InvalidInput(f"`sequence_lengths` must be from 1 to {len(ids)}")
    return token_ids(ids[:length], "tokens")


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    rewards = list(rewarded.rewards_N)
    output = {"name": "rewards", "datatype": "FP32", "shape": [len(rewards), 1], "data": rewards}
    return {
        "id": parsed.form or rewarded.request_id,
        "model_name": "reward_model",
        "model_version": "1",
        "outputs": [output],
    }


def _error(failed: RewardError) -> tuple[int, Any]:
    return failed.http_status, {"error": sendable(str(failed))}


ENDPOINTS = (
    Endpoint(
        ("/v2/models/reward_model/infer", "/v2/models/reward_model/versions/1/infer"),
        frozenset({"inputs"}),
        _parse,
        _render,
        _error,
    ),
)
