"""Tensors of KServe v2: as JSON, or as binary data behind the JSON header of a body.

A body in the binary form is a JSON object of `Inference-Header-Content-Length` bytes, behind it the
data of the inputs that have a `binary_data_size`, in their order. Elements of BYTES are 4 bytes of
length, little-endian, and the bytes themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from pydantic_core import to_json

from cluster.errors import InvalidInput
from cluster.serving.http.dialects.endpoint import Body, Content
from cluster.serving.http.json_body import parse_object

HEADER_LENGTH = "Inference-Header-Content-Length"
_NUMPY = {"INT64": "<i8", "BOOL": "?"}
"""Of the datatypes that inputs have, beside BYTES."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input. data: its elements in row-major order, as many as its shape says."""

    name: str
    shape: tuple[int, ...]
    data: Sequence[Any] | np.ndarray[Any, Any]


def decode(content: bytes, headers: Mapping[str, str]) -> Body:
    """The JSON of a body, binary data in its place as `data`. Raises InvalidInput."""
    given = headers.get(HEADER_LENGTH)
    if given is None:
        return parse_object(content)
    if not (given.isdecimal() and len(given) < 20 and int(given) <= len(content)):
        raise InvalidInput(
            f"{HEADER_LENGTH} must be the bytes of the JSON at the body's beginning, at most the "
            f"{len(content)} of the body"
        )
    body = parse_object(content[: int(given)])
    return {**body, "inputs": _with_data(body.get("inputs"), content, int(given))}


def _with_data(inputs: Any, content: bytes, start: int) -> Any:
    found: list[Any] = []
    for each in inputs if isinstance(inputs, list) else ():
        parameters = each.get("parameters") if isinstance(each, dict) else None
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            found.append(each)
            continue
        if type(size) is not int or not 0 <= size <= len(content) - start:
            raise InvalidInput("a `binary_data_size` is not the bytes of a tensor of this body")
        found.append({**each, "data": content[start : start + size]})
        start += size
    if start != len(content):
        raise InvalidInput(f"{len(content) - start} bytes of the body belong to no input")
    return found


def tensors(value: Any, datatypes: Mapping[str, str]) -> dict[str, Tensor]:
    """The inputs by name; `datatypes` are those that may be there. Raises InvalidInput."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InvalidInput("`inputs` must be a list of tensors {name, shape, datatype, data}")
    found: dict[str, Tensor] = {}
    for each in value:
        name = each.get("name")
        if not isinstance(name, str) or name not in datatypes:
            raise InvalidInput(
                f"an input is named {str(name)[:40]!a}; the model has {', '.join(datatypes)}"
            )
        if name in found:
            raise InvalidInput(f"the input {name} is there twice")
        found[name] = _tensor(name, each, datatypes[name])
    return found


def _tensor(name: str, given: Mapping[str, Any], datatype: str) -> Tensor:
    if given.get("datatype") != datatype:
        raise InvalidInput(f"the input {name} must have the datatype {datatype}")
    shape, data = given.get("shape"), given.get("data")
    if (
        not isinstance(shape, list)
        or len(shape) not in (1, 2)
        or any(type(n) is not int or n < 0 for n in shape)
    ):
        raise InvalidInput(f"the input {name} must have a shape of one or two whole numbers")
    if isinstance(data, bytes):
        elements = _strings(name, data) if datatype == "BYTES" else _numbers(name, data, datatype)
    elif isinstance(data, list):
        elements = _flat(data)
    else:
        raise InvalidInput(f"the input {name} has no `data`, neither as JSON nor as binary data")
    if prod(shape) != len(elements):
        raise InvalidInput(f"the input {name} must have as many elements as its shape says")
    return Tensor(name, tuple(shape), elements)


def _flat(data: list[Any]) -> list[Any]:
    while data and all(isinstance(each, list) for each in data):
        data = list(chain.from_iterable(data))
    return data


def _strings(name: str, data: bytes) -> list[bytes]:
    found, place = list[bytes](), 0
    while place < len(data):
        end = place + 4
        if end <= len(data):
            end += struct.unpack_from("<I", data, place)[0]
        if end > len(data) or end < place + 4:
            raise InvalidInput(f"the binary data of the input {name} ends within an element")
        found.append(data[place + 4 : end])
        place = end
    return found


def _numbers(name: str, data: bytes, datatype: str) -> np.ndarray[Any, Any]:
    kind = np.dtype(_NUMPY[datatype])
    if len(data) % kind.itemsize:
        raise InvalidInput(f"the binary data of the input {name} ends within an element")
    return np.frombuffer(data, kind)


def binary_answer(head: Mapping[str, Any], output: Mapping[str, Any], data: bytes) -> Content:
    """`head` with one output, whose data follow the JSON."""
    described = {**output, "parameters": {"binary_data_size": len(data)}}
    json = to_json({**head, "outputs": [described]})
    return Content(json + data, "application/octet-stream", {HEADER_LENGTH: str(len(json))})
