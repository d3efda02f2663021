"""Error forms: every dialect tells every class of error in its own form, read or unread.

One class of error has one status in a dialect, and one metric label in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

import pytest
from starlette.testclient import TestClient
from support.error_forms import (
    Form,
    of_infinity,
    of_openai,
    of_openai_flat,
    of_ours,
    of_sglang,
    of_tei,
    of_triton,
)
from support.http import FakeScorer

from cluster.config import HttpConfig
from cluster.errors import (
    DeadlineExceeded,
    EmptyInput,
    InvalidInput,
    NotFinite,
    NotReady,
    Overloaded,
    RewardError,
    TooLong,
    TooSlow,
    Unauthorized,
    all_error_classes,
)
from cluster.serving.http.dialects.table import TABLE
from cluster.serving.http.proxy_errors import ProxyErrors
from cluster.serving.http.request_limit import RequestLimit
from cluster.serving.metrics import ServingMetrics
from cluster.types import Dialect

Connect = Callable[..., TestClient]

SENTENCE = {"name": "sentences", "shape": [1], "datatype": "BYTES", "data": ["a"]}


class Asked(NamedTuple):
    """A request of a dialect's clients, and the form of its errors."""

    dialect: Dialect
    path: str
    body: dict[str, Any]
    form: Form


ASKED = [
    Asked("openrlhf", "/get_reward", {"query": ["a"]}, of_ours),
    Asked("slime", "/get_reward", {"prompt": "a", "response": "b"}, of_ours),
    Asked("llamafactory", "/v1/score/evaluation", {"messages": ["a"]}, of_ours),
    Asked("infinity", "/classify", {"input": ["a"], "raw_scores": True}, of_infinity),
    Asked("infinity", "/infinity/classify", {"input": ["a"]}, of_infinity),
    Asked("vllm", "/classify", {"input": "a"}, of_openai),
    Asked("vllm", "/pooling", {"input": "a"}, of_openai),
    Asked("vllm", "/score", {"text_1": "a", "text_2": "b"}, of_openai),
    Asked("vllm", "/v2/rerank", {"query": "a", "documents": ["b"]}, of_openai),
    Asked("sglang", "/classify", {"text": "a"}, of_sglang),
    Asked("sglang", "/v1/embeddings", {"input": "a"}, of_openai_flat),
    Asked("tei", "/predict", {"inputs": "a"}, of_tei),
    Asked("triton", "/v2/models/reward_model/infer", {"inputs": [SENTENCE]}, of_triton),
]
STATUSES: Mapping[Dialect, Mapping[int, int]] = {
    "vllm": {413: 400},
    "sglang": {413: 400},
    "tei": {400: 422, 500: 424},
}
"""Where a dialect's status is not the error class's own; EmptyInput keeps 400 in all."""
asked = pytest.mark.parametrize("ask", ASKED, ids=[f"{a.dialect}{a.path}" for a in ASKED])


def check(answer: Any, dialect: Dialect, error: type[RewardError], form: Form) -> None:
    """Whether `answer` tells that class of error as the dialect does."""
    own = {} if issubclass(error, EmptyInput) else STATUSES.get(dialect, {})
    status = own.get(error.http_status, error.http_status)
    assert answer.status_code == status, answer.text
    assert form(answer.json(), status), answer.text


def full() -> RequestLimit:
    """As while `http.max_requests` are inside."""
    made = RequestLimit(HttpConfig())
    made.n_inside = HttpConfig().max_requests
    return made


def closing() -> RequestLimit:
    made = RequestLimit(HttpConfig())
    made.draining = True
    return made


def test_every_dialect_is_asked() -> None:
    assert {dialect for dialect, *_ in ASKED} == set(get_args(Dialect)) == set(TABLE)


@asked
def test_what_is_wrong_before_the_body_is_read(
    connect: Connect, metrics: ServingMetrics, ask: Asked
) -> None:
    dialect, path, body, form = ask
    check(connect(key="k", dialects=(dialect,)).post(path, json=body), dialect, Unauthorized, form)
    small = connect(dialects=(dialect,), max_body_bytes=2)
    too_long = small.post(path, json=body)
    check(too_long, dialect, TooLong, form)
    assert too_long.headers["Connection"] == "close"
    unreadable = connect(dialects=(dialect,)).post(path, content=b"{")
    check(unreadable, dialect, InvalidInput, form)
    assert metrics.totals.errors == {"unauthorized": 1, "too_long": 1, "invalid_input": 1}


@asked
def test_a_service_that_takes_nothing_now(
    connect: Connect, metrics: ServingMetrics, ask: Asked
) -> None:
    dialect, path, body, form = ask
    refused = connect(dialects=(dialect,), door=full()).post(path, json=body)
    check(refused, dialect, Overloaded, form)
    assert refused.headers["Retry-After"] == "1"
    check(
        connect(dialects=(dialect,), door=closing()).post(path, json=body), dialect, NotReady, form
    )
    assert metrics.totals.errors == {"overloaded": 1, "not_ready": 1}


@asked
def test_an_unexpected_error_is_opaque_and_named_by_its_request(
    connect: Connect, metrics: ServingMetrics, scorer: FakeScorer, ask: Asked
) -> None:
    dialect, path, body, form = ask
    scorer.fail = ZeroDivisionError("a secret")
    answer = connect(dialects=(dialect,)).post(path, json=body, headers={"X-Request-Id": "abc"})
    check(answer, dialect, RewardError, form)
    assert "request id abc" in answer.text
    assert "secret" not in answer.text
    assert metrics.totals.errors == {"internal": 1}


@asked
@pytest.mark.parametrize("error", [TooSlow, DeadlineExceeded, NotFinite, TooLong, EmptyInput])
def test_what_scoring_raises(
    connect: Connect,
    metrics: ServingMetrics,
    scorer: FakeScorer,
    ask: Asked,
    error: type[RewardError],
) -> None:
    dialect, path, body, form = ask
    scorer.fail = error("why")
    check(connect(dialects=(dialect,)).post(path, json=body), dialect, error, form)
    assert metrics.totals.errors == {error.code: 1}


@asked
def test_a_request_that_two_dialects_could_send_is_answered_in_the_form_of_its_own(
    connect: Connect, scorer: FakeScorer, ask: Asked
) -> None:
    scorer.fail = ZeroDivisionError()
    check(connect().post(ask.path, json=ask.body), ask.dialect, RewardError, ask.form)


def test_an_unread_request_at_a_shared_path_is_answered_as_vllm_does(connect: Connect) -> None:
    """Its form has the fields that clients of SGLang and infinity read."""
    answer = connect(key="k").post("/classify", json={"raw_scores": True})
    check(answer, "vllm", Unauthorized, of_openai)


def test_the_native_route_keeps_its_form_beside_the_dialect_at_its_path(
    connect: Connect, scorer: FakeScorer
) -> None:
    scorer.fail = ZeroDivisionError()
    native = connect().post("/v1/score", json={"conversations": [{"text": "a"}]}).json()
    assert (native["error"]["code"], native.keys()) == ("internal", {"error", "request_id"})
    vllm = connect().post("/v1/score", json={"text_1": "a", "text_2": "b"})
    check(vllm, "vllm", RewardError, of_openai)


def test_the_form_is_known_under_a_prefix(connect: Connect, scorer: FakeScorer) -> None:
    scorer.fail = ZeroDivisionError()
    app = connect(dialects=("tei",)).app
    client = TestClient(app, base_url="http://localhost:8000", root_path="/reward")
    check(client.post("/reward/predict", content=b"{"), "tei", InvalidInput, of_tei)
    check(client.post("/reward/predict", json={"inputs": "a"}), "tei", RewardError, of_tei)


@pytest.mark.parametrize(
    ("dialect", "path", "form"),
    [
        ("vllm", "/v1/models", of_openai),
        ("sglang", "/v1/models", of_openai_flat),
        ("sglang", "/get_model_info", of_sglang),
        ("tei", "/info", of_tei),
    ],
)
def test_what_clients_ask_first_needs_the_key_and_a_replica(
    connect: Connect, scorer: FakeScorer, dialect: Dialect, path: str, form: Form
) -> None:
    locked = connect(key="k", dialects=(dialect,))
    check(locked.get(path), dialect, Unauthorized, form)
    key = {"Authorization": "Bearer k"}
    assert locked.get(path, headers=key).status_code == 200
    scorer.serving = False
    check(locked.get(path, headers=key), dialect, NotReady, form)


async def gone(scope: Any, receive: Any, send: Any) -> None:
    """What Serve's proxy does for a request whose process died."""


@asked
def test_the_proxys_own_503_has_the_form_of_the_path(ask: Asked) -> None:
    answer = TestClient(ProxyErrors(gone)).post(f"/reward{ask.path}", json=ask.body)
    unread = of_openai if ask.path == "/classify" else ask.form
    check(answer, ask.dialect, NotReady, unread)
    assert answer.headers["Retry-After"] == "1"


def test_the_proxys_own_503_of_a_native_path_is_native() -> None:
    answer = TestClient(ProxyErrors(gone)).post("/reward/v1/score", json={})
    assert answer.json().keys() == {"error", "request_id"}


def test_no_class_of_error_is_without_a_status_that_a_dialect_knows() -> None:
    """Statuses that the forms above are checked with cover all classes that a client may see."""
    seen = {error.http_status for error in all_error_classes()} - {499}
    checked = (Unauthorized, TooLong, InvalidInput, Overloaded, NotReady, RewardError, TooSlow)
    assert {error.http_status for error in (*checked, DeadlineExceeded)} == seen
