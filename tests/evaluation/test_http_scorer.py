"""A service by its URL: errors stay at their place, and one that is busy is asked again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from starlette.testclient import TestClient
from support.http import INFO, FakeScorer

from cluster.config import EngineConfig, HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import ConfigError, InvalidInput, NotReady, Overloaded
from cluster.evaluation.http_scorer import HttpScorer
from cluster.serving.http.app import build_http_app
from cluster.types import Conversation, Message, Score

CHAT = [Message(role="user", content="Hi"), Message(role="assistant", content="Hello!")]
LOCAL = "http://localhost"
"""A service without keys answers to this machine alone."""


@pytest.fixture
def behind() -> FakeScorer:
    return FakeScorer(ChatEncoder.load(EngineConfig(model="tiny")))


@pytest.fixture
def client(behind: FakeScorer) -> Iterator[Any]:
    with TestClient(build_http_app(behind, HttpConfig()), base_url=LOCAL) as client:
        yield client


@pytest.fixture
def scorer(client: Any) -> HttpScorer:
    return HttpScorer(client, 60.0)


def test_every_form_of_a_conversation_is_scored_as_by_the_service_itself(
    scorer: HttpScorer, behind: FakeScorer
) -> None:
    chats: list[Conversation] = [CHAT, (CHAT[:1], "Hello!"), ("Hi", "Hello!"), "templated text"]
    found = scorer(chats)
    assert all(isinstance(one, Score) and one.model == INFO.model for one in found)
    rewards = [one.reward for one in found if isinstance(one, Score)]
    assert rewards[0] == rewards[1] == rewards[2] != rewards[3]


def test_an_items_error_stays_at_its_place(scorer: HttpScorer) -> None:
    good, bad = scorer([CHAT, [Message(role="", content="x")]])
    assert isinstance(good, Score)
    assert isinstance(bad, InvalidInput)
    [alone] = scorer([[Message(role="", content="x")]])  # the whole call fails, with its items
    assert isinstance(alone, InvalidInput)


def test_a_busy_service_is_asked_again(client: Any, behind: FakeScorer) -> None:
    behind.fail = Overloaded("the queue is full")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        behind.fail = None if len(pauses) == 3 else behind.fail

    assert isinstance(HttpScorer(client, 60.0, pause)([CHAT])[0], Score)
    assert len(pauses) == 3


def test_a_call_that_is_too_large_is_made_in_halves(behind: FakeScorer) -> None:
    with TestClient(build_http_app(behind, HttpConfig(max_items=2)), base_url=LOCAL) as client:
        found = HttpScorer(cast(Any, client), 60.0)([CHAT] * 5)
    assert all(isinstance(one, Score) for one in found)
    assert [len(asked) for asked, _, _ in behind.asked] == [2, 1, 2]


def answering(answer: httpx.Response | Exception, patience_s: float = 0.0) -> HttpScorer:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    transport = httpx.MockTransport(handle)
    return HttpScorer(httpx.Client(base_url="http://x", transport=transport), patience_s)


@pytest.mark.parametrize(
    ("answer", "error", "complaint"),
    [
        (httpx.ConnectError("refused"), NotReady, "did not answer for 0 s: refused"),
        (httpx.Response(503, text="<html>"), NotReady, "answered 503, not as a reward service"),
        (httpx.Response(200, json={"results": []}), NotReady, "answered 200, not as"),
        (httpx.Response(401, json={}), ConfigError, "not authorized; give a key"),
        (
            httpx.Response(413, json={"error": {"code": "too_long", "message": "body"}}),
            InvalidInput,
            "body",
        ),
    ],
)
def test_what_is_no_answer_ends_the_run(
    answer: httpx.Response | Exception, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        answering(answer)([CHAT])
