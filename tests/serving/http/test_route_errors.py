"""What /v1/score and /v1/rank refuse: bad items, faulty bodies, and the status of a failed call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer, made_score
from support.score_route import post

from cluster.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    NotFinite,
    NotReady,
    Overloaded,
    RewardError,
    ScoringFailed,
    TooLong,
)
from cluster.serving.metrics import ServingMetrics

Connect = Callable[..., TestClient]


def test_an_item_that_cannot_be_scored_names_itself_and_harms_no_other(
    client: TestClient, metrics: ServingMetrics
) -> None:
    answer = post(
        client,
        {"ids": [1]},
        {"ids": []},
        {"messages": []},
        {"prompt": "hi", "respons": "x"},
        17,
        {"ids": [10**30]},
        {"ids": [True]},
        {"ids": [1, 1.5]},
        {"messages": [{"role": "user"}]},
        {"text": 5},
        {"prompt": None, "response": "x"},
        {"prompt": "hi", "response": ["x"]},
        {"prompt": "hi", "responses": "x"},
        {"prompt": "hi", "responses": ["x", 3]},
        {"text": "\ud800"},
        {"ids": [99999]},
        {"messages": "hi"},
        {"messages": [1, 2]},
        {"ids": [2]},
    )
    assert answer.status_code == 200
    results = answer.json()["results"]
    good = {r["item"] for r in results if "reward" in r}
    assert good == {0, 13, 18}
    errors = [r["error"] for r in results if "error" in r]
    assert [e["item"] for e in errors] == list(range(1, 18))
    assert {e["code"] for e in errors} == {"invalid_input"}
    assert all(len(e["message"]) > 20 for e in errors)
    # The fake's encoder found two of them, and counting those is the real scorer's work.
    assert metrics.totals.errors["invalid_input"] >= 12


def test_the_message_of_an_unknown_form_quotes_its_keys_short_and_printable(
    client: TestClient,
) -> None:
    answer = client.post(
        "/v1/score", content=rb'{"conversations": [{"\ud800%s": 1}]}' % (b"k" * 10_000)
    )
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "ud800" in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("body", "remedy"),
    [
        ({}, "`conversations` must be a list, not missing"),
        ({"conversations": {}}, "must be a list, not an object"),
        ({"conversations": [], "deadline": 3}, "known keys: conversations, deadline_s, priority"),
        ({"conversations": [], "priority": 1.5}, "priority must be a whole number"),
        ({"conversations": [], "priority": True}, "priority must be a whole number"),
        ({"conversations": [], "priority": 10**30}, "from -1000 to 1000"),
        ({"conversations": [], "deadline_s": 0}, "above 0"),
        ({"conversations": [], "deadline_s": "5"}, "finite number of seconds"),
        ([], "must be a JSON object, not a list"),
    ],
)
def test_a_faulty_body_fails_the_call_and_the_message_names_the_remedy(
    client: TestClient, body: Any, remedy: str
) -> None:
    answer = client.post("/v1/score", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_input"
    assert remedy in answer.json()["error"]["message"]


@pytest.mark.parametrize("count", [3, 50])
def test_more_items_than_allowed_are_refused_groups_counted_by_their_responses(
    connect: Connect, scorer: FakeScorer, count: int
) -> None:
    client = connect(max_items=count)
    group = {"prompt": "hi", "responses": [str(i) for i in range(count - 1)]}
    assert post(client, {"ids": [1]}, group).status_code == 200
    refused = post(client, {"ids": [1]}, {"ids": [2]}, group)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_long")
    assert len(scorer.asked) == 1


@pytest.mark.parametrize(
    ("errors", "status", "code"),
    [
        ([Overloaded("full", 0, 2.5), Overloaded("full", 1, 2.5)], 429, "overloaded"),
        ([InvalidInput("bad", 0), Overloaded("full", 1)], 429, "overloaded"),
        ([NotReady("none", 0), NotReady("none", 1)], 503, "not_ready"),
        ([TooLong("long", 0), DeadlineExceeded("late", 1)], 504, "deadline_exceeded"),
        ([TooLong("long", 0), InvalidInput("bad", 1)], 413, "too_long"),
        ([ScoringFailed("x", 0), NotFinite("y", 1)], 500, "scoring_failed"),
        ([Cancelled("x", 0), NotFinite("y", 1)], 499, "cancelled"),
    ],
)
def test_where_nothing_is_scored_the_call_has_the_status_of_the_error_that_stands_for_it(
    client: TestClient, scorer: FakeScorer, errors: list[RewardError], status: int, code: str
) -> None:
    scorer.instead = list(errors)
    answer = post(client, {"ids": [1]}, {"ids": [2]})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert [r["error"]["code"] for r in answer.json()["results"]] == [e.code for e in errors]


def test_one_reward_makes_a_200_even_while_the_queue_is_full(
    client: TestClient, scorer: FakeScorer
) -> None:
    scorer.instead = [Overloaded("full", 0), made_score(1.5)]
    answer = post(client, {"ids": [1]}, {"ids": [2]})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["error"]["code"] == "overloaded"
    assert answer.json()["results"][1]["reward"] == 1.5


def test_overload_says_in_whole_seconds_when_to_come_back(
    client: TestClient, scorer: FakeScorer
) -> None:
    for asked, header in ((0.01, "1"), (2.2, "3")):
        scorer.fail = Overloaded("the queue is full", retry_after_s=asked)
        answer = post(client, {"ids": [1]})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, header)


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "hi"},
        {"prompt": "hi", "responses": []},
        {"responses": ["a"]},
        {"prompt": [], "responses": ["a"]},
        {"prompt": "hi", "responses": ["a"], "top": 1},
        {"prompt": "hi", "responses": [1, 2]},
    ],
)
def test_a_faulty_rank_body_is_a_400(client: TestClient, body: Any) -> None:
    answer = client.post("/v1/rank", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_input")
