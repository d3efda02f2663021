"""Keys, limits, request ids, what the log says and what it never says."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer

from cluster.config import HttpConfig
from cluster.errors import ConfigError
from cluster.serving.http.api_keys import VARIABLE, KeyDigest, KeyRing, load_keys
from cluster.serving.logs import LOGGER
from cluster.serving.metrics import ServingMetrics

Connect = Callable[..., TestClient]
BODY = {"conversations": [{"ids": [1, 2, 3]}]}


@pytest.fixture
def keyed(connect: Connect, tmp_path: Path) -> TestClient:
    file = tmp_path / "keys"
    file.write_text("first-key\n\n  second-key  \n")
    return connect(keys_file=str(file))


@pytest.mark.parametrize("key", ["first-key", "second-key"])
def test_any_key_of_the_file_opens_the_service(keyed: TestClient, key: str) -> None:
    answer = keyed.post("/v1/score", json=BODY, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer wrong",
        "Bearer first-ke",
        "Bearer first-key2",
        "Bearer ",
        "Bearer",
        "Basic first-key",
        "first-key",
        "Bearer caf\xe9",
        "",
    ],
)
def test_without_a_key_the_service_stays_shut_and_nothing_is_scored(
    keyed: TestClient, scorer: FakeScorer, metrics: ServingMetrics, header: str
) -> None:
    raw = header.encode("latin-1")
    for path in ("/v1/score", "/v1/rank"):
        answer = keyed.post(path, content=b"{", headers=[(b"Authorization", raw)])
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert keyed.get("/v1/model").status_code == 401
    assert scorer.asked == []
    assert metrics.totals.errors == {"unauthorized": 3}


def test_probes_and_the_document_need_no_key(keyed: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert keyed.get(path).status_code == 200


def test_keys_come_from_the_environment_where_no_file_is_named() -> None:
    assert load_keys(HttpConfig(), {VARIABLE: "a, b,,"}) == [b"a", b"b"]
    assert load_keys(HttpConfig(), {}) == []


@pytest.mark.parametrize("content", ["", ",", " , "])
def test_a_variable_that_is_set_and_locks_nothing_is_refused(content: str) -> None:
    with pytest.raises(ConfigError, match=VARIABLE):
        load_keys(HttpConfig(), {VARIABLE: content})


def test_a_digest_knows_its_key_and_does_not_show_it() -> None:
    ring = KeyRing.of([b"first-key", b"second"])
    carried = ring.user_config()
    assert "first-key" not in str(carried)
    again = KeyRing.from_user_config(carried, HttpConfig(keys_file="/nowhere"))
    assert again.opens(b"first-key")
    assert again.opens(b"second")
    assert not again.opens(b"third")
    assert not again.opens(b"")
    assert str(again) == "2 keys"
    assert ring.user_config() != KeyRing.of([b"first-key", b"second"]).user_config()


@pytest.mark.parametrize("text", ["", "ab", "ab:cd", ":", "xy:zz", 3, "00:" + "0" * 63])
def test_what_is_no_digest_is_refused_and_opens_nothing(text: object) -> None:
    with pytest.raises(ConfigError, match="key_digests"):
        KeyDigest.parse(text)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 401),
        ("null", 401),
        ("http://[", 401),
        ("http://localhost:8000", 200),
        ("http://127.0.0.1:3000", 200),
    ],
)
def test_a_foreign_web_page_cannot_use_a_service_without_keys(
    client: TestClient, keyed: TestClient, origin: str, status: int
) -> None:
    headers = {"Origin": origin}
    assert client.post("/v1/score", json=BODY, headers=headers).status_code == status
    key = {"Authorization": "Bearer first-key"}
    assert keyed.post("/v1/score", json=BODY, headers=headers | key).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 401),
        ("127.0.0.1.evil.example", 401),
        ("[", 401),
    ],
)
def test_a_service_without_keys_is_asked_for_under_no_foreign_name(
    client: TestClient, keyed: TestClient, connect: Connect, host: str, status: int
) -> None:
    """A page may bind its own name to loopback: then it is of the same origin as the service."""
    headers = {"Host": host}
    assert client.get("/v1/model", headers=headers).status_code == status
    key = {"Authorization": "Bearer first-key"}
    assert keyed.get("/v1/model", headers=headers | key).status_code == 200
    networked = connect(open_to_network=True)
    assert networked.get("/v1/model", headers=headers).status_code == 200


@pytest.mark.parametrize("content", [None, "", " \n\n"])
def test_a_key_file_that_locks_nothing_is_refused_at_start(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="keys_file"):
        load_keys(HttpConfig(keys_file=str(file)), {VARIABLE: "a"})


def test_a_body_over_the_limit_is_refused_by_its_declared_and_by_its_counted_length(
    connect: Connect, scorer: FakeScorer
) -> None:
    client = connect(max_body_bytes=1000)
    fits = json.dumps(BODY).encode().ljust(1000)

    def chunks(total: int) -> Iterator[bytes]:
        for _ in range(total // 100):
            yield b" " * 100

    assert client.post("/v1/score", content=fits).status_code == 200
    assert client.post("/v1/score", content=fits + b" ").status_code == 413
    answer = client.post("/v1/score", content=chunks(100_000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_long")
    assert "max_body_bytes" in answer.json()["error"]["message"]
    assert client.post("/v1/score", json=BODY).status_code == 200
    assert len(scorer.asked) == 2


@pytest.mark.parametrize("given", ["abc-123", "A.b_c:9", "x" * 128])
def test_a_sound_request_id_is_echoed(client: TestClient, given: str) -> None:
    answer = client.get("/healthz", headers={"X-Request-Id": given})
    assert answer.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\tb", "\xe9", 'a"}', None])
def test_any_other_request_id_gives_way_to_a_new_one(client: TestClient, given: str | None) -> None:
    headers = [] if given is None else [(b"X-Request-Id", given.encode("latin-1"))]
    ids = {client.get("/healthz", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert given not in ids


def test_errors_name_the_request_id(client: TestClient) -> None:
    answer = client.post("/v1/score", content=b"{", headers={"X-Request-Id": "mine"})
    assert answer.json()["request_id"] == "mine"


def test_an_unforeseen_error_tells_the_client_nothing_and_the_log_everything(
    client: TestClient,
    scorer: FakeScorer,
    metrics: ServingMetrics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scorer.fail = RuntimeError("the secret inside")
    with caplog.at_level(logging.INFO, LOGGER):
        answer = client.post("/v1/score", json=BODY, headers={"X-Request-Id": "find-me"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert answer.json()["request_id"] == "find-me"
    assert "secret" not in answer.text
    assert "the secret inside" in caplog.text
    assert "find-me" in caplog.text
    assert metrics.totals.errors == {"internal": 1}
    scorer.fail = None
    assert client.post("/v1/score", json=BODY).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("GET", "/v1/score", 405, "method_not_allowed")],
)
def test_the_routers_own_answers_have_the_same_form(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


MARKER = "zebra crossing"


@pytest.mark.parametrize(
    "body",
    [
        {"conversations": [{"messages": [{"role": "user", "content": MARKER}]}]},
        {"conversations": [{"messages": [{"role": MARKER, "content": MARKER}]}]},
        {"conversations": [{"prompt": MARKER, "responses": [MARKER, 3]}, {MARKER: MARKER}]},
        {"conversations": [{"text": MARKER}, {"ids": MARKER}], "priority": MARKER},
        {MARKER: MARKER},
        MARKER,
    ],
)
def test_nothing_of_the_payload_is_in_the_log(
    client: TestClient, scorer: FakeScorer, caplog: pytest.LogCaptureFixture, body: object
) -> None:
    scorer.encoder._warned = False  # it warns once a process
    with caplog.at_level(logging.DEBUG):
        for content in (json.dumps(body), json.dumps(body)[:-1]):
            client.post(
                f"/v1/score?q={MARKER}",
                content=content,
                headers={"Authorization": MARKER, "X-Request-Id": MARKER},
            )
            client.post(f"/{MARKER}", content=content)
    ours = [record for record in caplog.records if record.name == LOGGER]
    assert len(ours) == 4
    assert "status=" in ours[0].getMessage()
    httpx_client = [record for record in caplog.records if record.name.startswith("httpx")]
    for record in [each for each in caplog.records if each not in httpx_client]:
        assert MARKER not in str(vars(record))
        assert MARKER.replace(" ", "%20") not in str(vars(record))


def test_the_log_line_of_a_request_has_its_fields_apart(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        client.post("/v1/score", json=BODY, headers={"X-Request-Id": "r-1"})
    (record,) = caplog.records
    fields = vars(record)
    assert fields["event"] == "http_request"
    assert (fields["request_id"], fields["route"], fields["status"]) == ("r-1", "/v1/score", 200)
    assert fields["seconds"] > 0
