"""The asyncio client's connections: whom they reach, when they are given up and closed."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from support.http import FakeScorer
from support.http_server import listening

from cluster.config import EngineConfig, HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import NotReady, RewardError
from cluster.serving.client.async_http_client import AsyncHttpClient
from cluster.serving.http.app import build_http_app
from cluster.types import Score

CHAT = ("Hi", "Hello!")
KEY = "a-key-of-this-test"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    scorer = FakeScorer(ChatEncoder.load(EngineConfig(model="tiny")))
    with listening(build_http_app(scorer, HttpConfig())) as (host, port):
        yield f"http://{host}:{port}"


def test_many_calls_at_once_each_get_their_own_rewards(url: str) -> None:
    chats = [("Hi", "Hello" + "!" * i) for i in range(300)]

    async def main() -> list[list[Score | RewardError]]:
        async with AsyncHttpClient(url) as client:
            one_by_one = await asyncio.gather(*(client.score([chat]) for chat in chats))
            return [[only for (only,) in one_by_one], await client.score(chats)]

    apart, together = asyncio.run(main())
    assert [_reward(one) for one in apart] == [_reward(one) for one in together]


def test_a_client_outlives_an_event_loop_and_leaves_nothing_open(
    url: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    client = AsyncHttpClient(url)
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        for _ in range(2):
            [one] = asyncio.run(client.score([CHAT]))
            assert isinstance(one, Score)
        del client
        gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    told = [
        each for each in recwarn if each.category is not ResourceWarning
    ]  # not shown by default
    assert not told


def test_a_dropped_client_closes_its_connections_while_its_loop_runs(url: str) -> None:
    async def main() -> None:
        client = AsyncHttpClient(url)
        await client.score([CHAT])
        assert client._session is not None
        connector = client._session.connector
        assert connector is not None
        del client
        assert connector.closed

    asyncio.run(main())


def test_an_answer_that_breaks_off_is_asked_for_again_and_silence_ends() -> None:
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    for behaviour in (lambda c: c.sendall(half), lambda c: None):
        paused.clear()
        with _server(behaviour) as port, pytest.raises(NotReady, match="did not answer for 2 s"):
            asyncio.run(_scored(f"127.0.0.1:{port}", patience_s=2.5, pause=pause))
        assert paused


def test_a_key_goes_to_no_other_place() -> None:
    reached: list[str] = []

    async def thief(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])
        await _respond(send, 200, [])

    with (
        listening(thief) as (_, elsewhere),
        listening(_to(elsewhere)) as (host, port),
        pytest.raises(NotReady, match="answered 307"),
    ):
        asyncio.run(_scored(f"{host}:{port}", KEY))
    assert reached == []


def test_a_proxy_of_the_environment_is_used_unless_it_is_excepted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bytes]] = []

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        asked.append((headers[b"host"].decode(), headers[b"authorization"]))
        body = json.dumps({"error": {"code": "too_long", "message": "the proxy"}}).encode()
        await _respond(send, 413, [(b"content-type", b"application/json")], body)

    with listening(proxy) as (host, port):
        monkeypatch.setenv("HTTP_PROXY", f"http://{host}:{port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(RewardError, match="the proxy"):
            asyncio.run(_scored("gpu-7:8000", KEY))
        one = asyncio.run(_scored(url))
    assert asked == [("gpu-7:8000", f"Bearer {KEY}".encode())]
    assert isinstance(one, Score)


async def _scored(url: str, key: str | None = None, **options: Any) -> Score | RewardError:
    async with AsyncHttpClient(url, key, **options) as client:
        [one] = await client.score([CHAT])
        return one


def _reward(one: Score | RewardError) -> float:
    assert isinstance(one, Score)
    return one.reward


def _to(port: int) -> ASGIApp:
    """Sends every request on to another server."""

    async def redirect(scope: Scope, receive: Receive, send: Send) -> None:
        place = f"http://localhost:{port}/v1/score".encode()
        await _respond(send, 307, [(b"location", place)])

    return redirect


async def _respond(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def _server(behaviour: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that does the same with each connection and then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    behaviour(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
