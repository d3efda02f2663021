"""Endpoint of a dialect: paths, the keys that identify its bodies, parse and render.

Knows nothing of HTTP, Ray or how conversations are scored. Shape legend: N rewards asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.config import HttpConfig
from cluster.errors import InvalidInput, RewardError
from cluster.serving.http.errors import ErrorForm, detail
from cluster.serving.http.json_body import parse_object
from cluster.types import Conversation, ModelInfo, Score

Body = Mapping[str, Any]
Asked = Iterable[Conversation | InvalidInput]
"""Read one by one, so that a body of more items than are allowed costs no more than those."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a body asks. form: whatever `render` needs to know of it. priority: higher is sooner."""

    conversations_N: Asked
    form: Any = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Rewarded:
    """What `render` gets: a reward for each conversation, never NaN.

    model: that is served. score_N: None if the reward is `http.reward_for_failed`.
    """

    rewards_N: Sequence[float]
    scores_N: Sequence[Score | None]
    model: str
    request_id: str
    created: int

    @property
    def n_tokens(self) -> int:
        return sum(score.n_tokens for score in self.scores_N if score is not None)


@dataclass(frozen=True, slots=True)
class Content:
    """An answer that is more than JSON."""

    body: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def json_body(content: bytes, headers: Mapping[str, str]) -> Body:
    """The JSON object of a request. Raises InvalidInput."""
    return parse_object(content)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of request.

    keys: a body is of this kind if it has one of them.
    parse: raises InvalidInput for a body that is wrong as a whole.
    render: the JSON value of the answer, or Content.
    error: the status and JSON value that the dialect's clients expect for a failed request.
    decode: the body of a request and its headers; the same for all endpoints of a path.
    """

    paths: tuple[str, ...]
    keys: frozenset[str]
    parse: Callable[[Body], Parsed]
    render: Callable[[Parsed, Rewarded], Any]
    error: ErrorForm
    methods: tuple[str, ...] = ("POST",)
    decode: Callable[[bytes, Mapping[str, str]], Body] = json_body

    def takes(self, body: Body) -> bool:
        return not self.keys.isdisjoint(body)


@dataclass(frozen=True, slots=True)
class Probe:
    """A question about the service, which needs no key and tells no secret.

    answer: its JSON value; None for an empty body.
    when_ready: 503 until a replica serves.
    status: of an answer.
    """

    paths: tuple[str, ...]
    answer: Callable[[HttpConfig], Any]
    error: ErrorForm
    when_ready: bool = False
    status: int = 200
    methods: tuple[str, ...] = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Description:
    """A question about the model, which clients ask before they use it; it needs the key.

    answer: its JSON value, of what is served, the limits and the time (Unix seconds).
    """

    paths: tuple[str, ...]
    answer: Callable[[ModelInfo, HttpConfig, int], Any]
    error: ErrorForm


def plain_error(error: RewardError) -> tuple[int, Any]:
    """As the native routes tell it, for protocols that document no errors."""
    return error.http_status, {"error": detail(error)}


def sigmoid(reward: float) -> float:
    """1 / (1 + exp(-reward)), without overflow."""
    if reward >= 0:
        return 1 / (1 + math.exp(-reward))
    grown = math.exp(reward)
    return grown / (1 + grown)
