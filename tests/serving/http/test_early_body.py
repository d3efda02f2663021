"""Small bodies that travel with their request, and all others that go Serve's own way."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from cluster.serving.http.early_body import KEY, MAX_BYTES, EarlyBody, EarlyBodyReceiver

pytestmark = pytest.mark.usefixtures("virtual_time")
GONE: Message = {"type": "http.disconnect"}


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def passed_on(
    arrivals: Sequence[tuple[float, Message]], length: int | str | None, n: int
) -> tuple[Scope, list[Message]]:
    """The scope and the first `n` messages that the app behind a proxy gets.

    arrivals: the client's messages, each with the seconds before it.
    """
    coming = iter(arrivals)
    seen: dict[str, Any] = {}

    async def receive() -> Message:
        pause, message = next(coming)
        await asyncio.sleep(pause)
        return message

    async def send(message: Message) -> None:
        raise AssertionError(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen["scope"], seen["messages"] = scope, [await receive() for _ in range(n)]

    async def ingress(scope: Scope, receive: Receive, send: Send) -> None:
        seen["sent"] = pickle.loads(pickle.dumps(scope))  # as Serve hands it over
        await EarlyBodyReceiver(app)(seen["sent"], receive, send)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    await EarlyBody(ingress)({"type": "http", "method": "POST", "headers": headers}, receive, send)
    return seen["scope"], seen["messages"]


@pytest.mark.parametrize("parts", [(b"abcd",), (b"ab", b"cd"), (b"", b"abc", b"d")])
def test_a_small_body_is_one_message_whatever_it_came_in(parts: tuple[bytes, ...]) -> None:
    arrivals = [(0.001, part(body, more=True)) for body in parts[:-1]]
    arrivals += [(0.001, part(parts[-1])), (0.0, GONE)]
    scope, messages = asyncio.run(passed_on(arrivals, 4, 2))
    assert messages == [part(b"abcd"), GONE]
    assert KEY not in scope


def test_a_body_that_trickles_in_keeps_every_byte() -> None:
    arrivals = [(0.01, part(b"a", more=True)), (0.2, part(b"b", more=True)), (5.0, part(b"c"))]
    _, messages = asyncio.run(passed_on(arrivals, 3, 3))
    assert b"".join(message["body"] for message in messages) == b"abc"
    assert not messages[-1]["more_body"]


def test_nothing_waits_for_a_client_that_sends_no_body() -> None:
    async def run() -> float:
        clock = asyncio.get_running_loop().time
        started = clock()
        await passed_on([(100.0, part(b"late"))], 4, 0)
        return clock() - started

    assert asyncio.run(run()) < 1


@pytest.mark.parametrize("length", [None, MAX_BYTES + 1, 0, "x", "-1", "9" * 30])
def test_other_bodies_are_left_alone(length: int | str | None) -> None:
    arrivals = [(1.0, part(b"ab", more=True)), (1.0, part(b"cd")), (0.0, GONE)]
    _, messages = asyncio.run(passed_on(arrivals, length, 3))
    assert messages == [message for _, message in arrivals]


def test_who_leaves_before_the_end_is_seen_to_leave() -> None:
    arrivals = [(0.001, part(b"ab", more=True)), (0.001, GONE)]
    _, messages = asyncio.run(passed_on(arrivals, 4, 2))
    assert messages == [part(b"ab", more=True), GONE]
