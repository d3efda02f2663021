"""Table of dialects, and which endpoint a body at a path belongs to.

Paths that dialects share are told apart by the keys of the body; of two dialects with the same keys
the one that stands first in `http.dialects` answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.serving.http.dialects import (
    infinity,
    llamafactory,
    openrlhf,
    sglang,
    slime,
    tei,
    triton,
    vllm,
)
from cluster.serving.http.dialects.endpoint import Body, Description, Endpoint, Probe
from cluster.serving.http.errors import ErrorForm
from cluster.types import Dialect

TABLE: dict[Dialect, tuple[Endpoint, ...]] = {
    "openrlhf": openrlhf.ENDPOINTS,
    "slime": slime.ENDPOINTS,
    "llamafactory": llamafactory.ENDPOINTS,
    "infinity": infinity.ENDPOINTS,
    "vllm": vllm.ENDPOINTS,
    "sglang": sglang.ENDPOINTS,
    "tei": tei.ENDPOINTS,
    "triton": triton.ENDPOINTS,
}
PROBES: dict[Dialect, tuple[Probe, ...]] = {
    "infinity": infinity.PROBES,
    "vllm": vllm.PROBES,
    "sglang": sglang.PROBES,
    "tei": tei.PROBES,
    "triton": triton.PROBES,
}
DESCRIPTIONS: dict[Dialect, tuple[Description, ...]] = {
    "vllm": vllm.DESCRIPTIONS,
    "sglang": sglang.DESCRIPTIONS,
    "tei": tei.DESCRIPTIONS,
}

NATIVE = "/v1/score"
"""The one path that the native routes have too: they ask `found` first."""

BEFORE_READING: dict[str, Dialect] = {"/classify": "vllm"}
"""Whose errors a path of several dialects has until its body tells them apart, if not the first
one's: vLLM's has the fields that clients of the others read."""


def by_path(dialects: Sequence[Dialect]) -> dict[str, tuple[Endpoint, ...]]:
    """The endpoints of each path, the first that takes a body first."""
    found: dict[str, tuple[Endpoint, ...]] = {}
    for dialect in dialects:
        for endpoint in TABLE[dialect]:
            for path in endpoint.paths:
                found[path] = (*found.get(path, ()), endpoint)
    return found


def probes(dialects: Sequence[Dialect]) -> dict[str, Probe]:
    """The probe of each path."""
    asked = (each for dialect in reversed(dialects) for each in PROBES.get(dialect, ()))
    return {path: probe for probe in asked for path in probe.paths}


def descriptions(dialects: Sequence[Dialect]) -> dict[str, Description]:
    """The description at each path."""
    asked = (each for dialect in reversed(dialects) for each in DESCRIPTIONS.get(dialect, ()))
    return {path: description for description in asked for path in description.paths}


def error_forms(dialects: Sequence[Dialect]) -> dict[str, ErrorForm]:
    """The form of errors at each path, for a request that is not read yet."""
    questions = probes(dialects) | descriptions(dialects)
    forms = {path: question.error for path, question in questions.items()}
    forms |= {path: ends[0].error for path, ends in by_path(dialects).items() if path != NATIVE}
    for path, dialect in BEFORE_READING.items():
        if dialect in dialects:
            forms[path] = next(each.error for each in TABLE[dialect] if path in each.paths)
    return forms


def taking(endpoints: Sequence[Endpoint], body: Body) -> Endpoint | None:
    """The one to which `body` belongs."""
    return next((each for each in endpoints if each.takes(body)), None)
