"""What the proxy answers by itself: 503 in the JSON contract, and ids that are sound."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray.serve._private import default_impl
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from cluster.config import ClusterConfig
from cluster.serving.http.proxy_errors import ProxyErrors, middlewares


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """What Serve's proxy does for a request whose replica died."""


async def text_503(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"no replica"})


def test_a_proxy_with_the_middlewares_routes_on_its_own_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the switch that Serve reads when it makes the proxy's handle of an application."""
    monkeypatch.setattr(default_impl, "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP", True)
    handles = SimpleNamespace(is_initialized=False, _init=Mock(), options=Mock())
    client = SimpleNamespace(get_handle=lambda *args, **options: handles)
    monkeypatch.setattr("ray.serve.context._get_global_client", lambda: client)
    middlewares()
    default_impl.get_proxy_handle(Mock(), Mock())
    assert handles._init.call_args.kwargs["_run_router_in_separate_loop"] is False


@pytest.mark.parametrize("app", [silent, text_503])
def test_what_the_proxy_answers_by_itself_is_a_503_in_the_json_contract(app: object) -> None:
    answer = TestClient(ProxyErrors(app)).get("/x", headers={"X-Request-Id": "abc"})  # type: ignore[arg-type]
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_ready"
    assert answer.json()["request_id"] == "abc"
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/score", 503),
        ("/reward/readyz", 503),
        ("/get_reward", 503),
        ("/reward/v1/embeddings", 503),
        ("/elsewhere", 404),
    ],
)
def test_a_proxy_that_knows_no_routes_yet_asks_to_come_back(path: str, status: int) -> None:
    async def text_404(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"Path not found."})

    answer = TestClient(ProxyErrors(text_404)).get(path)
    assert answer.status_code == status


def test_the_apps_own_answers_pass_unchanged() -> None:
    async def json_503(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    answer = TestClient(ProxyErrors(json_503)).get("/x")
    assert (answer.status_code, answer.json()) == (503, {})


@pytest.mark.parametrize("given", [b"\xff\xfe", b"x" * 129, b"<script>", b""])
def test_a_strange_request_id_gives_way_to_one_that_all_use(given: bytes) -> None:
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(value for name, value in scope["headers"] if name == b"x-request-id")
        await text_503(scope, receive, send)

    answer = TestClient(ProxyErrors(app)).get("/x", headers=[(b"X-Request-Id", given)])
    (used,) = seen
    assert used != given
    assert answer.json()["request_id"] == used.decode()


def test_an_ingress_drains_for_as_long_as_a_request_may_last() -> None:
    from cluster.serving.app import ingress_options

    config = ClusterConfig()
    assert ingress_options(config)["graceful_shutdown_timeout_s"] > config.http.deadline_s
