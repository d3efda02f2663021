"""Connections of both HTTP clients: when an answer is given up, whom a key reaches, what stays."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import socket
import threading
from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from support.http import FakeScorer, made_score
from support.http_clients import Scored
from support.http_server import behaving, listening

from cluster.config import EngineConfig, HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import DeadlineExceeded, NotReady, RewardError
from cluster.serving.client.async_http_client import AsyncHttpClient
from cluster.serving.http.app import build_http_app
from cluster.types import Conversation, Score

CHAT: Conversation = ("Hi", "Hello!")
LARGE = ("Hi", "x" * 6_000_000)
"""More than the sockets between two processes hold."""
KEY = "a-key-of-this-test"
STILL_OPEN_S = 10.0
"""A connection on which nothing has come for so long has not been ended."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    scorer = FakeScorer(ChatEncoder.load(EngineConfig(model="tiny")))
    with listening(build_http_app(scorer, HttpConfig())) as (host, port):
        yield f"{host}:{port}"


@pytest.mark.parametrize("chat", [CHAT, LARGE], ids=["small", "large"])
def test_a_service_that_takes_a_call_and_says_nothing_is_given_up(
    scored: Scored, chat: Conversation
) -> None:
    with behaving(lambda _: None) as port:
        with pytest.raises(NotReady, match="did not answer for 1 s"):
            scored([chat], f"127.0.0.1:{port}", patience_s=1.0)
        [late] = scored([chat], f"127.0.0.1:{port}", deadline_s=0.2)
    assert isinstance(late, DeadlineExceeded)
    assert late.item == 0


def test_an_answer_that_breaks_off_is_asked_for_again(scored: Scored) -> None:
    whole = json.dumps({"results": [dataclasses.asdict(made_score(0.5))]}).encode()
    parts = iter((whole[:10], whole))

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole)
            connection.sendall(head + next(parts))

    with behaving(answer) as port:
        [one] = scored([CHAT], f"127.0.0.1:{port}", pause=lambda _: None)
    assert one == made_score(0.5)
    assert not list(parts)


def test_a_key_goes_to_no_place_that_a_service_names(scored: Scored) -> None:
    reached: list[str] = []

    async def thief(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])
        await _respond(send, 200, [])

    with (
        listening(thief) as (_, elsewhere),
        listening(_to(elsewhere)) as (host, port),
        pytest.raises(NotReady, match="answered 307"),
    ):
        scored([CHAT], f"{host}:{port}", key=KEY)
    assert reached == []


def test_a_large_body_is_sent_without_a_warning(scored: Scored, url: str) -> None:
    chats: list[Conversation] = [("Hi", "one two " * 150) for _ in range(1500)]
    assert all(isinstance(one, Score) for one in scored(chats, url))


def test_many_calls_at_once_each_get_their_own_rewards(url: str) -> None:
    chats: list[Conversation] = [("Hi", "Hello" + "!" * i) for i in range(300)]

    async def main() -> list[list[Score | RewardError]]:
        async with AsyncHttpClient(url) as client:
            one_by_one = await asyncio.gather(*(client.score([chat]) for chat in chats))
            return [[only for (only,) in one_by_one], await client.score(chats)]

    apart, together = asyncio.run(main())
    assert apart == together


def test_a_client_outlives_an_event_loop_and_is_left_without_complaint(
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
    # The sockets of a loop that has ended are the collector's, and Python does not show that.
    assert not [each for each in recwarn if each.category is not ResourceWarning]


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


@pytest.mark.parametrize("chat", [CHAT, LARGE], ids=["small", "large"])
def test_a_closed_client_ends_its_calls_and_takes_no_more(chat: Conversation) -> None:
    async def main(port: int) -> None:
        client = AsyncHttpClient(f"127.0.0.1:{port}")
        running = asyncio.create_task(client.score([chat]))
        await asyncio.sleep(0.2)
        await client.close()
        for call in (running, client.score([chat])):
            with pytest.raises(RuntimeError, match="has been closed"):
                await call

    with behaving(lambda _: None) as port:
        asyncio.run(main(port))


def test_what_is_given_up_is_not_sent_on_and_its_connection_ends() -> None:
    given_up, received, ended = threading.Event(), bytearray(), []

    def slow(connection: socket.socket) -> None:
        given_up.wait()
        connection.settimeout(STILL_OPEN_S)
        with contextlib.suppress(TimeoutError):
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(2**20):
                    received.extend(part)
            ended.append(True)

    async def main(port: int) -> None:
        async with AsyncHttpClient(f"127.0.0.1:{port}") as client:
            [late] = await client.score([LARGE], deadline_s=0.1)
            assert isinstance(late, DeadlineExceeded)
            given_up.set()

    with behaving(slow) as port:
        asyncio.run(main(port))
    assert ended
    assert len(received) < len(LARGE[1])


def test_a_client_is_dropped_without_complaint_where_its_loop_has_stopped(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    client = AsyncHttpClient(url)
    [one] = loop.run_until_complete(client.score([CHAT]))
    del client
    loop.close()
    gc.collect()
    assert isinstance(one, Score)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_client_goes_on_in_another_loop_where_its_first_one_has_stopped(url: str) -> None:
    client, stopped = AsyncHttpClient(url), asyncio.new_event_loop()
    stopped.run_until_complete(client.score([CHAT]))
    [one] = asyncio.run(_closing(client))
    stopped.run_until_complete(asyncio.sleep(0.1))  # its connections end
    stopped.close()
    assert isinstance(one, Score)


async def _closing(client: AsyncHttpClient) -> list[Score | RewardError]:
    async with client:
        return await client.score([CHAT])


def test_a_second_event_loop_is_refused_while_the_first_one_runs(url: str) -> None:
    refused: list[BaseException] = []

    async def main() -> None:
        async with AsyncHttpClient(url) as client:

            def elsewhere() -> None:
                with pytest.raises(RuntimeError, match="one event loop") as caught:
                    asyncio.run(client.score([CHAT]))
                refused.append(caught.value)

            await client.score([CHAT])
            await asyncio.to_thread(elsewhere)
            [one] = await client.score([CHAT])
            assert isinstance(one, Score)

    asyncio.run(main())
    assert refused


def _to(port: int) -> ASGIApp:
    """Sends every request on to another server."""

    async def redirect(scope: Scope, receive: Receive, send: Send) -> None:
        place = f"http://localhost:{port}/v1/score".encode()
        await _respond(send, 307, [(b"location", place)])

    return redirect


async def _respond(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
