"""A service by its URL, for both clients: errors stay at their place, one that is busy is asked
again, and what is no answer is an error that says so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from support.http import INFO, FakeScorer, made_score
from support.http_clients import BOTH, Results
from support.http_server import listening

from cluster.config import EngineConfig, HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotReady,
    Overloaded,
    RewardError,
    TooLong,
    Unauthorized,
)
from cluster.serving.client.answer import PAUSE_S, Answer
from cluster.serving.client.http_client import HttpClient
from cluster.serving.client.score_call import ScoreCall
from cluster.serving.http.app import build_http_app
from cluster.types import Conversation, Message, Score

CHAT = [Message(role="user", content="Hi"), Message(role="assistant", content="Hello!")]
NAN = json.dumps({"results": [{**dataclasses.asdict(made_score(float("nan")))}]})
LOCAL = "http://localhost"
"""A service without keys answers to this machine alone."""
Ask = Callable[..., Results]
"""Makes one call of a client over the app of `HttpConfig(**config)`."""


@pytest.fixture
def behind() -> FakeScorer:
    return FakeScorer(ChatEncoder.load(EngineConfig(model="tiny")))


@pytest.fixture(params=BOTH)
def ask(request: pytest.FixtureRequest, behind: FakeScorer) -> Ask:
    def make(
        conversations: Sequence[Conversation],
        pause: Callable[[float], object] = lambda _: None,
        config: dict[str, Any] | None = None,
        **options: Any,
    ) -> Results:
        app = build_http_app(behind, HttpConfig(**(config or {})))
        with listening(app) as (host, port):
            return BOTH[request.param](conversations, f"{host}:{port}", pause=pause, **options)

    return make


def test_every_form_of_a_conversation_is_scored_as_by_the_service_itself(
    ask: Ask, behind: FakeScorer
) -> None:
    text = "templated text"
    ids = behind.encoder.encode(text).input_ids
    chats: list[Conversation] = [
        *(CHAT, (CHAT[:1], "Hello!"), ("Hi", "Hello!")),
        *(text, ids, ids.tolist()),
    ]
    found = ask(chats)
    assert all(isinstance(one, Score) and one.model == INFO.model for one in found)
    rewards = [one.reward for one in found if isinstance(one, Score)]
    assert rewards[0] == rewards[1] == rewards[2] != rewards[3]
    assert rewards[3] == rewards[4] == rewards[5]


def test_an_items_error_stays_at_its_place_and_names_it(ask: Ask) -> None:
    bad = [Message(role="", content="x")]
    good, failed = ask([CHAT, bad])
    assert isinstance(good, Score)
    assert isinstance(failed, InvalidInput)
    assert failed.item == 1
    [alone] = ask([bad])  # the whole call fails, with its items
    assert isinstance(alone, InvalidInput)
    with pytest.raises(InvalidInput, match="item 1"):
        ask([CHAT, bad], strict=True)
    assert ask([]) == []


def test_what_no_json_can_carry_is_an_error_at_its_place_too(ask: Ask) -> None:
    surrogate = [CHAT[0], Message(role="assistant", content="\ud800")]
    odd: list[Any] = [None, object(), surrogate, [1, 2**70], np.zeros((2, 2), int)]
    found = ask([*odd[:3], CHAT, *odd[3:]])
    assert [isinstance(one, Score) for one in found] == [False] * 3 + [True] + [False] * 2
    failed = [one for one in found if isinstance(one, InvalidInput)]
    assert [one.item for one in failed] == [0, 1, 2, 4, 5]
    assert "not null" in failed[0].message
    assert "lone surrogate" in failed[2].message
    assert "integers" in failed[3].message
    assert all(isinstance(one, InvalidInput) for one in ask(odd))  # nothing is left to send
    with pytest.raises(InvalidInput, match="finite"):
        ask([CHAT], deadline_s=float("nan"))


def test_priority_and_deadline_reach_the_service(ask: Ask, behind: FakeScorer) -> None:
    ask([CHAT], priority=-3, deadline_s=20.0)
    [(_, priority, deadline_s)] = behind.asked
    assert priority == -3
    assert 0 < deadline_s <= 20.0


def test_a_busy_service_is_asked_again_after_the_time_that_it_names(
    ask: Ask, behind: FakeScorer
) -> None:
    behind.fail = Overloaded("the queue is full", retry_after_s=2.0)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        behind.fail = None if len(pauses) == 3 else behind.fail

    assert isinstance(ask([CHAT], pause)[0], Score)
    assert pauses == [2.0] * 3


def test_a_call_that_is_too_large_is_made_in_halves(ask: Ask, behind: FakeScorer) -> None:
    found = ask([CHAT] * 5, config={"max_items": 2})
    assert all(isinstance(one, Score) for one in found)
    assert sorted(len(asked) for asked, _, _ in behind.asked) == [1, 2, 2]


def test_a_conversation_that_is_too_large_costs_the_others_nothing(ask: Ask) -> None:
    large = ("Hi", "x" * 4000)
    found = ask([CHAT, large, CHAT, CHAT], config={"max_body_bytes": 2000})
    assert [type(one) for one in found] == [Score, TooLong, Score, Score]
    assert [one.item for one in found if isinstance(one, RewardError)] == [1]
    assert isinstance(ask([large], config={"max_body_bytes": 2000})[0], TooLong)


def test_conversations_may_be_made_one_by_one(ask: Ask) -> None:
    prompts = [f"question {i}" for i in range(200)]
    made = (((Message(role="user", content=prompt),), "answer") for prompt in prompts)
    rewards = ask(cast(Any, made))
    assert rewards == ask([(prompt, "answer") for prompt in prompts])
    assert len({one.reward for one in rewards if isinstance(one, Score)}) == len(prompts)


def test_transforms_see_the_groups_of_the_whole_call_though_it_is_sent_in_halves(ask: Ask) -> None:
    found = ask(
        [("Hi", "a"), ("Ho", "b"), ("Hi", "cc")], config={"max_items": 2}, transforms=["centre"]
    )
    scores = [one for one in found if isinstance(one, Score)]
    half = (scores[0].reward - scores[2].reward) / 2
    assert half
    assert [one.transformed_reward for one in scores] == pytest.approx([half, 0.0, -half])


def answering(answer: httpx.Response | Exception) -> HttpClient:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = httpx.Client(base_url="http://x", transport=httpx.MockTransport(handle))
    return HttpClient(client=client, patience_s=0.0)


@pytest.mark.parametrize(
    ("answer", "error", "complaint"),
    [
        (httpx.ConnectError("refused"), NotReady, "did not answer for 0 s: refused"),
        (httpx.Response(503, text="<html>"), NotReady, "answered 503, not as a reward service"),
        (httpx.Response(200, json={"results": []}), NotReady, "answered 200, not as"),
        (httpx.Response(200, json=[]), NotReady, "answered 200, not as"),
        (httpx.Response(401, json={}), Unauthorized, "not authorized; give the service's API key"),
        (httpx.Response(200, text="[" * 100_000), NotReady, "answered 200, not as"),
        *(
            (httpx.Response(200, json={"results": [entry]}), NotReady, "answered 200, not as")
            for entry in (0.5, None, "reward", [0.5], {"reward": 1.0}, {"reward": "high"})
        ),
        (httpx.Response(200, text=NAN), NotReady, "answered 200, not as"),
        (httpx.Response(400, json={"error": {"code": ["x"], "message": 3}}), RewardError, "3"),
    ],
)
def test_what_is_no_answer_ends_the_call(
    answer: httpx.Response | Exception, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        answering(answer).score([CHAT])


def test_a_client_of_httpx_keeps_its_timeouts_and_sends_json() -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"results": []})

    own = httpx.Client(base_url="http://x", transport=httpx.MockTransport(handle), timeout=5.0)
    with pytest.raises(NotReady):
        HttpClient(client=own).score([CHAT])
    [request] = asked
    assert request.headers["content-type"] == "application/json"
    assert set(request.extensions["timeout"].values()) == {5.0}


def test_a_wait_that_is_no_number_of_seconds_is_not_waited_for() -> None:
    busy = json.dumps({"error": {"code": "overloaded", "message": "full"}}).encode()
    for asked in ("nan", "inf", "soon", None):
        call = ScoreCall("http://x", [CHAT], 600.0)
        call.next_body()
        call.take(Answer(429, busy, asked))
        assert call.pause_s == PAUSE_S


def test_a_call_of_many_bytes_goes_out_in_parts_and_in_smaller_ones_where_it_breaks_off() -> None:
    chats = ["x" * 1_000_000 for _ in range(10)]
    call = ScoreCall("http://x", chats, 600.0)
    sizes = []
    for error in (None, ConnectionResetError(), ConnectionResetError(), None):
        body = call.next_body()
        assert body is not None
        sizes.append(len(body) // 1_000_000)
        entry = dataclasses.asdict(made_score(0.5))
        n = len(json.loads(body)["conversations"])
        if error is None:
            call.take(Answer(200, json.dumps({"results": [entry] * n}).encode()))
        else:
            call.failed(error)
    assert sizes == [7, 3, 1, 1]


def test_after_its_deadline_a_silent_service_leaves_an_error_for_each_item() -> None:
    now = [100.0]
    call = ScoreCall("http://x", [CHAT, "a"], 600.0, deadline_s=3.0, clock=lambda: now[0])
    attempts = 0
    while call.next_body() is not None:
        call.failed(httpx.ConnectError("refused"))
        attempts += 1
        now[0] += call.pause_s
    assert attempts == 3
    late = call.results()
    assert all(isinstance(one, DeadlineExceeded) for one in late)
    assert [one.item for one in late if isinstance(one, RewardError)] == [0, 1]


@pytest.mark.filterwarnings("ignore:You should not use the 'timeout' argument")
def test_a_client_says_what_is_served_and_whether(behind: FakeScorer) -> None:
    with TestClient(build_http_app(behind, HttpConfig()), base_url=LOCAL) as client:
        service = HttpClient(client=cast(Any, client))
        assert service.ready()
        assert service.model() == INFO
        behind.serving = False
        assert not service.ready()
        with pytest.raises(NotReady, match="503"):
            service.model()
    with pytest.raises(NotReady, match="not as a reward service"):
        answering(httpx.Response(200, text="hello")).model()
    assert not answering(httpx.ConnectError("refused")).ready()
    with pytest.raises(NotReady, match="refused"):
        answering(httpx.ConnectError("refused")).model()


def test_ids_are_sent_as_whole_numbers() -> None:
    as_numpy: Any = [np.int64(3)]
    sent = ScoreCall("http://x", [np.array([1, 2], np.int32), as_numpy], 1.0).next_body()
    assert sent is not None
    assert json.loads(sent)["conversations"] == [{"ids": [1, 2]}, {"ids": [3]}]
