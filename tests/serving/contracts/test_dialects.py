"""How every dialect's paths refuse and fail: keys, probes, overload, bad items, any body at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support.fuzzing import generated
from support.http import FakeScorer, made_score

from cluster.config import HttpConfig
from cluster.errors import (
    EmptyInput,
    InvalidInput,
    NotFinite,
    NotReady,
    Overloaded,
    RewardError,
    TooLong,
)
from cluster.serving.http.dialects.table import by_path
from cluster.serving.logs import LOGGER

Connect = Callable[..., TestClient]
PATHS = sorted(by_path(HttpConfig().dialects))


@pytest.mark.parametrize("path", PATHS)
def test_the_key_guards_every_path_whatever_its_prefix(connect: Connect, path: str) -> None:
    locked = connect(key="secret")
    assert locked.post(path, json={}).status_code == 401
    assert locked.post(path, json={}, headers={"Authorization": "Bearer no"}).status_code == 401
    opened = locked.post(path, json={}, headers={"Authorization": "Bearer secret"})
    assert opened.status_code in (400, 422)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2/models/reward_model/infer", lambda body: body["error"].startswith("send one of")),
        ("/infinity/classify", lambda body: body == {"detail": "Unauthorized"}),
        ("/pooling", lambda body: body["error"]["type"] == "AuthenticationError"),
        ("/predict", lambda body: isinstance(body["error"], str)),
        ("/v1/embeddings", lambda body: isinstance(body["message"], str)),
    ],
)
def test_a_missing_key_is_told_in_the_dialects_own_shape(
    connect: Connect, path: str, told: Callable[[Any], bool]
) -> None:
    answer = connect(key="secret").post(path, json={})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert told(answer.json())


def test_probes_need_no_key(connect: Connect) -> None:
    locked = connect(key="secret")
    paths = ("/healthz", "/readyz", "/health", "/health_generate")
    assert {path: locked.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "tei", "infinity"])
def test_a_client_that_waits_for_health_waits_for_a_replica(
    connect: Connect, scorer: FakeScorer, dialect: str
) -> None:
    scorer.serving = False
    assert connect(dialects=(dialect,)).get("/health").status_code == 503


def test_overload_is_429_with_retry_after_in_the_dialects_own_shape(
    connect: Connect, scorer: FakeScorer
) -> None:
    scorer.instead = [made_score(1.0), Overloaded("full", 1, 2.0)]
    answer = connect().post("/classify", json={"input": ["a", "b"]})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert answer.json()["error"]["type"] == "RateLimitError"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (EmptyInput("nothing"), 400, "Empty"),
        (InvalidInput("the box is empty of sense"), 422, "Validation"),
        (TooLong("9 tokens"), 413, "Validation"),
        (NotFinite("NaN"), 424, "Backend"),
        (Overloaded("full"), 429, "Overloaded"),
        (NotReady("no replica"), 503, "Unhealthy"),
    ],
)
def test_the_kind_of_a_failure_is_told_by_its_class(
    connect: Connect, scorer: FakeScorer, error: RewardError, status: int, kind: str
) -> None:
    """Of text-embeddings-inference, whose clients read it; a message may hold any word."""
    scorer.instead = [error]
    answer = connect().post("/predict", json={"inputs": "hi"})
    assert (answer.status_code, answer.json()["error_type"]) == (status, kind)


def test_a_failure_is_no_number(connect: Connect, scorer: FakeScorer) -> None:
    scorer.instead = [made_score(1.0), TooLong("9 tokens are more than 8", 1)]
    answer = connect().post("/classify", json={"input": ["a", "b"]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "item 1: 9 tokens are more than 8"


def test_permanent_failures_get_the_configured_reward_and_are_listed(
    connect: Connect, scorer: FakeScorer
) -> None:
    client = connect(reward_for_failed=-5.0)
    scorer.instead = [made_score(1.0), NotFinite("the model answered NaN", 1)]
    answer = client.post("/get_reward", json={"query": ["a", "b", 5]})
    assert answer.json()["rewards"] == [1.0, -5.0, -5.0]
    assert answer.headers["X-Failed-Items"] == "1,2"


def test_a_passing_failure_never_gets_the_configured_reward(
    connect: Connect, scorer: FakeScorer
) -> None:
    scorer.instead = [NotReady("no replica", 0)]
    answer = connect(reward_for_failed=-5.0).post("/get_reward", json={"query": ["a"]})
    assert answer.status_code == 503


def test_the_native_route_keeps_its_path(connect: Connect, scorer: FakeScorer) -> None:
    body = {"conversations": [{"prompt": "hi", "response": "yo"}]}
    assert "results" in connect().post("/v1/score", json=body).json()
    refused = connect(dialects=()).post("/v1/score", json={"text_1": "a", "text_2": "b"})
    assert refused.status_code == 400


def test_without_dialects_their_paths_are_not_there(connect: Connect) -> None:
    assert connect(dialects=()).post("/classify", json={"input": "a"}).status_code == 404


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted(
    {key for ends in by_path(HttpConfig().dialects).values() for e in ends for key in e.keys}
)
OPTIONS = [
    *("documents", "items", "text_2", "priority", "use_activation", "truncate_prompt_tokens"),
    *("truncation_side", "encoding_format", "top_n", "task", "chat_template", "labels"),
]


@pytest.fixture
def anybody(connect: Connect, caplog: pytest.LogCaptureFixture) -> TestClient:
    """One client for hundreds of bodies, which fill no log."""
    caplog.set_level(logging.ERROR, LOGGER)
    return connect()


@generated(150)
@hypothesis.given(
    st.sampled_from(PATHS), st.dictionaries(st.sampled_from(KEYS + OPTIONS), JSON, max_size=4)
)
def test_no_body_makes_the_service_fail(
    anybody: TestClient, path: str, body: dict[str, Any]
) -> None:
    answer = anybody.post(path, json=body)
    assert answer.status_code in (200, 400, 413, 422), (path, body, answer.text)
