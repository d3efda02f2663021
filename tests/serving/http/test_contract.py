"""The OpenAPI document and the service agree, and no body whatever makes the service fail."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.generation import GenerationMode
from starlette.testclient import TestClient
from support.fuzzing import generated
from support.http import FakeInspector, FakeScorer

from cluster.config import HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import all_error_classes
from cluster.serving.http.app import build_http_app
from cluster.serving.http.errors import MEANING, PASSING, error_statuses
from cluster.serving.logs import LOGGER

Connect = Callable[..., TestClient]
QUICK = generated(60)
GOOD = json.dumps({"conversations": [{"prompt": "hi", "response": "there"}]}).encode()


checks.load_all_checks()
CHECKS = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]
OPERATIONS = [
    *(("/v1/score", "POST"), ("/v1/rank", "POST")),
    pytest.param("/v1/tokenize", "POST", marks=pytest.mark.slow),  # its body is that of /v1/score
    *(("/v1/model", "GET"), ("/v1/status", "GET")),
]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """No log line for each of thousands of requests."""
    caplog.set_level(logging.ERROR, LOGGER)


@pytest.fixture(scope="module")
def api(encoder: ChatEncoder) -> Any:
    # schemathesis asks for a host of its own
    limits, inspector = HttpConfig(open_to_network=True), FakeInspector(encoder)
    app = build_http_app(FakeScorer(encoder), limits, inspector=inspector)
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_whatever_is_sent_the_answer_is_one_that_the_document_describes(
    api: Any, path: str, method: str, mode: GenerationMode
) -> None:
    @QUICK
    @hypothesis.given(api[path][method].as_strategy(generation_mode=mode))
    def exchange(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    exchange()


@pytest.mark.parametrize("path", ["/v1/score", "/v1/rank"])
def test_what_the_document_allows_is_refused_for_ids_outside_the_vocabulary_or_a_transform(
    api: Any, path: str
) -> None:
    @QUICK
    @hypothesis.given(api[path]["POST"].as_strategy())
    def exchange(case: Any) -> None:
        answer = case.call().json()
        results = answer.get("results", answer.get("ranking"))
        if results is None:  # JSON schema cannot say that low <= high
            assert answer["error"]["message"].startswith("`transforms`: "), answer
            return
        errors = [result["error"]["message"] for result in results if "error" in result]
        assert all("outside the vocabulary" in message for message in errors), errors

    exchange()


def alive(client: TestClient) -> bool:
    answer = client.post("/v1/score", content=GOOD)
    return answer.status_code == 200 and len(answer.json()["results"]) == 1


def refused(client: TestClient, body: bytes) -> str:
    """The code of a 4xx that every route gives `body`."""
    codes = set()
    for path in ("/v1/score", "/v1/rank"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, (path, body[:80], answer.text)
        codes.add(answer.json()["error"]["code"])
    (code,) = codes
    return str(code)


@hypothesis.settings(QUICK, max_examples=200)
@hypothesis.given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=20).map(lambda noise: GOOD[:20] + noise + GOOD[20:]),
        st.integers(0, len(GOOD) - 1).map(lambda cut: GOOD[:cut]),
    )
)
def test_noise_is_a_400_and_the_service_lives_on(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/score", content=body)
    assert answer.status_code in (200, 400), (body, answer.text)
    assert alive(client)


BOMB = 200_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\xfd",
        GOOD.replace(b"hi", b"\xc3\x28"),
        GOOD.replace(b"hi", b"\xed\xa0\x80"),
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        b"[" * BOMB,
        b"[" * BOMB + b"]" * BOMB,
        b'{"a":' * BOMB + b"1" + b"}" * BOMB,
        b'{"conversations": ' + b"[" * BOMB + b"]" * BOMB + b"}",
        b'{"conversations": [{"messages": ' + b"[" * 500 + b"]" * 500 + b"}]}",
        b'{"conversations": [{"ids": ' + b"[" * 150 + b"1" + b"]" * 150 + b"}]}",
        b'{"conversations": [{"ids": [NaN]}]}',
        b'{"conversations": [{"ids": [-Infinity]}]}',
        b'{"conversations": [{"ids": [1e999]}]}',
        b'{"conversations": [{"ids": [1' + b"0" * 5000 + b"]}]}",
        b'{"conversations": [{"ids": [1' + b"0" * 4000 + b"]}]}",
        b'{"conversations": [{"ids": [-1]}]}',
        b'{"conversations": [], "deadline_s": NaN}',
        b'{"conversations": [], "deadline_s": 1e999}',
        b'{"conversations": [], "priority": 1' + b"0" * 5000 + b"}",
        b'{"conversations": [{"text": "\\ud800"}]}',
        b'{"conversations": [{"text": "\\u0000"}]}, {}',
        b'{"conversations": "' + b"x" * 1_000_000 + b'"}',
        b"null",
        b"true",
        b'"x"',
        b"1",
        b"[]",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_hostile_bodies_are_400s_and_the_service_lives_on(client: TestClient, body: bytes) -> None:
    assert refused(client, body) == "invalid_input"
    assert alive(client)


def test_ids_that_are_long_strings_do_not_blow_up_memory(client: TestClient) -> None:
    ids = ["x" * 2_000_000, *["y"] * 20_000]  # numpy would want 160 GB for this list
    body = json.dumps({"conversations": [{"ids": ids}]}).encode()
    assert refused(client, body) == "invalid_input"


def test_an_allowed_body_with_a_null_character_is_scored(client: TestClient) -> None:
    answer = client.post("/v1/score", content=b'{"conversations": [{"text": "a\\u0000b"}]}')
    assert answer.status_code == 200


def test_every_error_class_has_its_status_in_the_document(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert {cls.http_status for cls in all_error_classes()} == set(MEANING)
    for path, method in (("/v1/score", "post"), ("/v1/rank", "post"), ("/v1/model", "get")):
        responses = document["paths"][path][method]["responses"]
        for status, codes in error_statuses().items():
            description = responses[str(status)]["description"]
            assert all(f"`{code}`" in description for code in codes)
    passing = {cls.http_status for cls in all_error_classes() if cls.retryable}
    assert passing <= set(PASSING)


def test_the_examples_of_the_document_are_scored(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/v1/score", "/v1/rank"):
        operation = document["paths"][path]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        assert client.post(path, json=example).status_code == 200
        assert operation["summary"]
        assert operation["description"]


def test_every_reference_of_the_document_resolves(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    names = set(document["components"]["schemas"])
    used = set(json.dumps(document).split("#/components/schemas/"))
    referred = {part.split('"')[0] for part in used if not part.startswith("{")}
    assert referred <= names
    assert {"ScoreRequest", "RankRequest", "Group", "ErrorResponse"} <= referred
