"""Inference of Triton's `reward_model`.

Inputs: `sentences` BYTES [N] or [N, 1], or `tokens` INT64 [N, T] with `sequence_lengths` INT64
[N, 1]. Output: `rewards` FP32 [N, 1], binary where the client asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.data.call_results import or_error
from cluster.errors import InvalidInput
from cluster.serving.http.dialects.endpoint import Asked, Body, Endpoint, Parsed, Rewarded
from cluster.serving.http.dialects.fields import flag, text, token_ids
from cluster.serving.http.dialects.triton.errors import kserve_error
from cluster.serving.http.dialects.triton.model import INPUTS, NAME, OUTPUT, PATHS, VERSION
from cluster.serving.http.dialects.triton.tensors import Tensor, binary_answer, decode, tensors
from cluster.types import Conversation


@dataclass(frozen=True, slots=True)
class _Form:
    identifier: str | None
    binary: bool


def _parse(body: Body) -> Parsed:
    inputs = tensors(body["inputs"], INPUTS)
    identifier = body.get("id") if isinstance(body.get("id"), str) else None
    form = _Form(identifier, _binary(body))
    if "add_EOS" in inputs and any(inputs["add_EOS"].data):
        raise InvalidInput("`add_EOS` must be false: sentences are scored as they stand")
    given = inputs.keys() - {"add_EOS"}
    if given == {"sentences"}:
        return Parsed(_sentences(inputs["sentences"]), form)
    if given == {"tokens", "sequence_lengths"}:
        return Parsed(_sequences(inputs["tokens"], inputs["sequence_lengths"]), form)
    raise InvalidInput("give the input `sentences`, or `tokens` with `sequence_lengths`")


def _binary(body: Body) -> bool:
    """Whether the client wants the rewards as binary data. Raises InvalidInput."""
    all_binary = flag(_parameters(body), "binary_data_output", default=False)
    outputs = body.get("outputs") or [{"name": OUTPUT}]
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise InvalidInput("`outputs` must be a list of {name, parameters}")
    if [each.get("name") for each in outputs] != [OUTPUT]:
        raise InvalidInput(f"`outputs` may have {OUTPUT} only, the model's one output")
    parameters = _parameters(outputs[0])
    if parameters.keys() & {"classification", "shared_memory_region"}:
        raise InvalidInput("`outputs`: neither `classification` nor shared memory is taken")
    return flag(parameters, "binary_data", default=all_binary)


def _parameters(of: Mapping[str, Any]) -> Mapping[str, Any]:
    found = of.get("parameters")
    if found is not None and not isinstance(found, dict):
        raise InvalidInput("`parameters` must be an object")
    return found or {}


def _sentences(tensor: Tensor) -> Asked:
    if tensor.shape[1:] not in ((), (1,)):
        raise InvalidInput("`sentences` must have one text a sample: the shape [N, 1]")
    return (or_error(_sentence, each) for each in tensor.data)


def _sentence(value: Any) -> Conversation:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"`sentences` must be UTF-8: {error.reason} at byte {error.start}"
            ) from None
    return text(value, "sentences")


def _sequences(tokens: Tensor, lengths: Tensor) -> Asked:
    """Rows of `tokens` without their padding, which stands behind them."""
    n_rows, width = tokens.shape if len(tokens.shape) == 2 else (-1, 0)
    if n_rows != len(lengths.data):
        raise InvalidInput("`tokens` must have the shape [N, T], `sequence_lengths` one per row")
    rows = (tokens.data[i * width : (i + 1) * width] for i in range(n_rows))
    taken = lengths.data.tolist() if isinstance(lengths.data, np.ndarray) else lengths.data
    return (or_error(_sequence, ids, n) for ids, n in zip(rows, taken, strict=True))


def _sequence(ids: Any, length: Any) -> Conversation:
    if type(length) is not int or not 0 < length <= len(ids):
        raise InvalidInput(f"`sequence_lengths` must be from 1 to {len(ids)}")
    taken = ids[:length]
    return taken if isinstance(taken, np.ndarray) else token_ids(taken, "tokens")


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    form: _Form = parsed.form
    rewards = list(rewarded.rewards_N)
    head = {
        "id": form.identifier or rewarded.request_id,
        "model_name": NAME,
        "model_version": VERSION,
    }
    output = {"name": OUTPUT, "datatype": "FP32", "shape": [len(rewards), 1]}
    if form.binary:
        return binary_answer(head, output, np.array(rewards, "<f4").tobytes())
    return {**head, "outputs": [{**output, "data": rewards}]}


ENDPOINTS = (
    Endpoint(
        tuple(f"{path}/infer" for path in PATHS),
        frozenset({"inputs"}),
        _parse,
        _render,
        kserve_error,
        decode=decode,
    ),
)
