"""When an Ingress asks the proxy for a request's messages, at the seam where Serve calls it."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
import ray
from ray.serve._private.common import StreamingHTTPRequest
from ray.serve._private.http_util import ASGIReceiveProxy

from cluster.serving.http.early_body import KEY
from cluster.serving.http.late_receive import LATE_S, receive_late

pytestmark = pytest.mark.usefixtures("virtual_time")
BODY = {"type": "http.request", "body": b"abc", "more_body": False}
GONE = {"type": "http.disconnect"}


class Proxy:
    """The proxy's actor. asked: the metadata of each call."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.asked: list[str] = []
        self._messages = messages
        self.receive_asgi_messages = self

    async def remote(self, metadata: str) -> bytes:
        self.asked.append(metadata)
        return pickle.dumps(list(self._messages))


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        StreamingHTTPRequest, "receive_asgi_messages", StreamingHTTPRequest.receive_asgi_messages
    )
    receive_late()


def found_as(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have Ray find `proxy`; the names that it is asked for."""
    names: list[str] = []

    def get_actor(name: str, namespace: str) -> Proxy:
        names.append(name)
        return proxy

    monkeypatch.setattr(ray, "get_actor", get_actor)
    return names


def receiver(scope: dict[str, Any]) -> Any:
    """As Serve makes it for each request."""
    scope = {"type": "http", **scope}
    request = StreamingHTTPRequest(scope, proxy_actor_name="a proxy")
    return ASGIReceiveProxy(scope, "m", request.receive_asgi_messages)  # type: ignore[arg-type]


@pytest.mark.usefixtures("late")
def test_a_request_with_its_body_is_answered_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = found_as(proxy := Proxy(GONE), monkeypatch)

    async def run() -> None:
        fetching = asyncio.create_task(receiver({KEY: b"abc"}).fetch_until_disconnect())
        await asyncio.sleep(0.9 * LATE_S)
        fetching.cancel()

    asyncio.run(run())
    assert (names, proxy.asked) == ([], [])


@pytest.mark.usefixtures("late")
def test_a_request_that_takes_long_is_told_that_its_client_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = found_as(Proxy(GONE), monkeypatch)

    async def run() -> tuple[Any, float]:
        receive, started = receiver({KEY: b"abc"}), asyncio.get_running_loop().time()
        fetching = asyncio.create_task(receive.fetch_until_disconnect())
        message = await receive()
        await fetching
        return message, asyncio.get_running_loop().time() - started

    message, seconds = asyncio.run(run())
    assert (message, names) == (GONE, ["a proxy"])
    assert LATE_S <= seconds < 2 * LATE_S


@pytest.mark.usefixtures("late")
def test_any_other_body_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found_as(proxy := Proxy(BODY, GONE), monkeypatch)

    async def run() -> tuple[Any, float]:
        receive, started = receiver({}), asyncio.get_running_loop().time()
        fetching = asyncio.create_task(receive.fetch_until_disconnect())
        message = await receive()
        await fetching
        return message, asyncio.get_running_loop().time() - started

    assert asyncio.run(run()) == (BODY, 0.0)
    assert proxy.asked == ["m"]
