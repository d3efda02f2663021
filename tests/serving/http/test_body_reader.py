"""Bodies that come slowly, too many at once, or twice the same key; requests at a full or closing
door. One event loop; a test says when a piece arrives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from fastapi import Request
from starlette.testclient import TestClient
from support.http import FakeScorer, made_score

from cluster.config import HttpConfig
from cluster.errors import InvalidInput, NotReady, Overloaded, TooLong, TooSlow
from cluster.serving.http.body_reader import UNREAD_BODIES, BodyReader
from cluster.serving.http.json_body import parse_object
from cluster.serving.http.request_limit import RequestLimit
from cluster.serving.http.request_parser import score_query

pytestmark = pytest.mark.usefixtures("virtual_time")
LONG_S = 60.0


class Sender:
    """A request whose body arrives as the test sends it."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.request = Request({"type": "http", "method": "POST", "headers": []}, self._pieces.get)

    def send(self, piece: bytes, more: bool = True) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": piece, "more_body": more})


def reader(quick_s: float = 0.01, **config: Any) -> BodyReader:
    return BodyReader(HttpConfig(**{"body_timeout_s": LONG_S, **config}), quick_s)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, LONG_S))


async def started(reading: BodyReader, sender: Sender) -> asyncio.Task[bytes]:
    """A body under way, long enough to count as slow."""
    sender.send(b"x")
    task = asyncio.create_task(reading.read(sender.request))
    await asyncio.sleep(0.05)
    return task


def test_a_body_in_pieces_is_put_together() -> None:
    async def test() -> None:
        sender = Sender()
        task = await started(reader(), sender)
        sender.send(b"y", more=False)
        assert await task == b"xy"

    run(test())


def test_a_body_that_does_not_arrive_in_time_is_given_up() -> None:
    async def test() -> None:
        task = await started(reader(body_timeout_s=0.02), Sender())
        with pytest.raises(TooSlow, match="did not arrive within"):
            await task

    run(test())


def test_the_body_that_was_slow_longest_makes_room_and_quick_ones_need_none() -> None:
    async def test() -> None:
        reading = reader(max_slow_bodies=2)
        first, *slow = [Sender() for _ in range(3)]
        given_up = await started(reading, first)
        tasks = [await started(reading, sender) for sender in slow]
        with pytest.raises(TooSlow, match="later uploads were also slow"):
            await given_up
        quick = Sender()
        quick.send(b"all", more=False)
        assert await reading.read(quick.request) == b"all"
        for sender, task in zip(slow, tasks, strict=True):
            sender.send(b"y", more=False)
            assert await task == b"xy"
        again = await started(reading, late := Sender())
        late.send(b"", more=False)
        assert await again == b"x", "a place that was left is free again"

    run(test())


def test_a_sender_that_goes_away_leaves_its_place() -> None:
    async def test() -> None:
        reading = reader(max_slow_bodies=1)
        gone = await started(reading, Sender())
        gone.cancel()
        await asyncio.wait([gone])
        task = await started(reading, sender := Sender())
        sender.send(b"y", more=False)
        assert await task == b"xy"

    run(test())


def test_all_unfinished_bodies_together_are_bounded() -> None:
    async def test() -> None:
        reading = reader(max_body_bytes=10)
        senders = [Sender() for _ in range(UNREAD_BODIES)]
        for sender in senders:
            sender.send(b"0123456789")
        tasks = [asyncio.create_task(reading.read(sender.request)) for sender in senders]
        await asyncio.sleep(0.02)
        late = Sender()
        late.send(b"x", more=False)
        with pytest.raises(Overloaded):
            await reading.read(late.request)
        for sender, task in zip(senders, tasks, strict=True):
            sender.send(b"", more=False)
            assert len(await task) == 10
        late.send(b"y", more=False)
        fresh = Sender()
        fresh.send(b"z", more=False)
        assert await reading.read(fresh.request) == b"z"

    run(test())


def test_one_byte_too_many_is_too_long_and_is_not_held() -> None:
    async def test() -> None:
        reading = reader(max_body_bytes=10)
        for _ in range(2 * UNREAD_BODIES):
            sender = Sender()
            sender.send(b"01234567890")
            with pytest.raises(TooLong):
                await reading.read(sender.request)

    run(test())


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"x": [{"b": 1, "c": 2, "b": 1}]}', '{"a": {}, "\\u0061": 1}']
)
def test_a_key_that_stands_twice_in_an_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="appears twice"):
        parse_object(text.encode())


def test_a_compressed_body_is_refused_by_name(client: TestClient) -> None:
    answer = client.post("/v1/score", content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "`Content-Encoding` 'gzip'" in answer.json()["error"]["message"]
    plain = client.post("/v1/score", json={}, headers={"Content-Encoding": "identity"})
    assert "`conversations` must be a list" in plain.json()["error"]["message"]


def test_the_same_key_in_different_objects_is_no_matter() -> None:
    assert parse_object(b'{"a": {"a": [{"a": 1}, {"a": 1}]}}') == {"a": {"a": [{"a": 1}, {"a": 1}]}}


def test_so_many_requests_pass_the_door_and_no_more() -> None:
    door = RequestLimit(HttpConfig(max_requests=1))
    with door.passed(1), pytest.raises(Overloaded, match="max_requests"), door.passed(1):
        pass
    with door.passed(1):
        pass
    door.draining = True
    with pytest.raises(NotReady), door.passed(1):
        pass


def test_requests_together_hold_as_many_tokens_as_one_may() -> None:
    door = RequestLimit(HttpConfig(max_tokens_per_request=10))
    with door.passed(6):
        with door.passed(4):
            pass
        with pytest.raises(Overloaded), door.passed(5):
            pass
    with door.passed(10):
        pass


PARTS = [{"type": "text", "text": "x" * 32}, {"type": "text", "text": "y" * 32}, 5, {"text": 5}]


@pytest.mark.parametrize(
    ("body", "n"),
    [
        ({"conversations": [{"ids": [1] * 7}, {"text": "x" * 32}]}, 9),
        ({"conversations": [{"prompt": "x" * 160, "responses": ["a", "b", "y" * 16]}]}, 34),
        ({"conversations": [{"messages": [{"role": "user", "content": 3}]}, {"text": 3}]}, 1),
        ({"conversations": [{"messages": [{"role": "user", "content": PARTS}]}]}, 5),
    ],
)
def test_the_tokens_that_a_request_holds_at_least_are_told_from_its_characters(
    body: dict[str, Any], n: int
) -> None:
    assert score_query(body, HttpConfig()).least_tokens == n


BODY = {"conversations": [{"ids": [1, 2, 3]}]}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_ask_for_the_head_alone(client: TestClient, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_slash_more_is_another_path_and_no_redirect(client: TestClient) -> None:
    answer = client.post("/v1/score/", json=BODY, follow_redirects=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_there_is_no_page_that_loads_scripts_from_a_cdn(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_after_a_body_that_may_still_be_coming_the_connection_is_closed(client: TestClient) -> None:
    answer = client.post("/v1/score", content=b" " * (8 * 2**20 + 1))
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_an_error_that_stands_for_the_call_names_the_item_of_the_request(
    client: TestClient, scorer: FakeScorer
) -> None:
    items: list[Any] = [{"ids": [True]}, {"ids": [1, 2]}]
    scorer.instead = [Overloaded("full", 0)]
    error = client.post("/v1/score", json={"conversations": items}).json()["error"]
    assert (error["code"], error["item"]) == ("overloaded", 1)


def test_a_part_that_was_refused_says_when_to_come_back(
    client: TestClient, scorer: FakeScorer
) -> None:
    scorer.instead = [made_score(1.0), Overloaded("full", 1, retry_after_s=2.5)]
    answer = client.post("/v1/score", json={"conversations": [{"ids": [1]}, {"ids": [2]}]})
    assert (answer.status_code, answer.headers["retry-after"]) == (200, "3")


def test_priorities_above_those_of_http_are_refused(connect: Any) -> None:
    client = connect(max_priority=5)
    assert client.post("/v1/score", json=BODY | {"priority": 5}).status_code == 200
    answer = client.post("/v1/score", content=json.dumps(BODY | {"priority": 6}))
    assert answer.status_code == 400
    assert "at most 5" in answer.json()["error"]["message"]
