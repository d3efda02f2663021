"""Bodies in, rewards out: /v1/score, /v1/rank, /v1/model and the probes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer, made_score, score_of
from support.score_route import post

from cluster.config import TransformConfig
from cluster.errors import NotFinite
from cluster.types import Conversation, Message

USER: Message = {"role": "user", "content": "hi"}
ANSWER: Message = {"role": "assistant", "content": "hello"}
Connect = Callable[..., TestClient]


def reward_of(scorer: FakeScorer, conversation: Conversation) -> float:
    return score_of(scorer.encoder.encode(conversation)).reward


def test_every_form_of_an_item_is_scored_as_the_conversation_it_means(
    client: TestClient, scorer: FakeScorer
) -> None:
    ids = [7, 8, 9]
    answer = post(
        client,
        {"messages": [USER, ANSWER]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, ANSWER]},
        {"prompt": [USER], "response": "hello"},
        {"prompt": "hi", "response": "hello"},
        {"prompt": "hi", "responses": ["hello", "bye"]},
        {"text": "<|begin_of_text|>raw"},
        {"ids": ids},
        {"ids": [7.0, 8, 9]},
    )
    assert answer.status_code == 200
    chat = reward_of(scorer, [USER, ANSWER])
    bye = reward_of(scorer, ([USER], "bye"))
    text, raw = reward_of(scorer, "raw"), reward_of(scorer, ids)
    results = answer.json()["results"]
    assert [r["reward"] for r in results] == [chat, chat, chat, chat, chat, bye, text, raw, raw]
    assert [r["item"] for r in results] == [0, 1, 2, 3, 4, 4, 5, 6, 7]
    responses = [r.get("response") for r in results]
    assert responses == [None, None, None, None, 0, 1, None, None, None]


def test_a_result_is_the_whole_score_record(client: TestClient) -> None:
    body = post(client, {"ids": [1, 2, 3]}).json()
    (result,) = body["results"]
    assert set(result) == {
        *("item", "reward", "n_tokens", "n_bos", "truncated", "queue_s", "forward_s"),
        *("model", "revision", "numerics"),
    }
    assert result["n_tokens"] == 3
    assert (body["model"], body["revision"]) == ("fake", "r1")


def test_transforms_that_are_asked_for_stand_beside_the_raw_rewards_with_their_names(
    client: TestClient,
) -> None:
    group = {"prompt": "hi", "responses": ["hello", "bye"]}
    plain = post(client, group, {"ids": [1]}).json()
    found = post(client, group, {"ids": [1]}, transforms=["centre"]).json()
    assert found["transforms"] == [{"name": "centre", "parameters": {}}]
    a, b, alone = (result["reward"] for result in plain["results"])
    assert [result["reward"] for result in found["results"]] == [a, b, alone]
    assert [result["transformed_reward"] for result in found["results"]] == pytest.approx(
        [(a - b) / 2, (b - a) / 2, 0.0]
    )
    assert "transforms" not in plain
    ranked = client.post("/v1/rank", json={**group, "transforms": ["centre"]}).json()["ranking"]
    assert sum(one["transformed_reward"] for one in ranked) == pytest.approx(0.0)
    refused = post(client, group, transforms=["center"])
    assert refused.status_code == 400
    assert "centre" in refused.json()["error"]["message"]


def test_the_services_own_transforms_hold_where_a_request_names_none(connect: Connect) -> None:
    clip = TransformConfig("clip", {"low": 0.0, "high": 0.0})
    client = connect(transforms=(clip,))
    found = post(client, {"ids": [1]}).json()
    assert found["results"][0]["transformed_reward"] == 0.0
    assert found["transforms"] == [{"name": "clip", "parameters": {"low": 0.0, "high": 0.0}}]
    off = post(client, {"ids": [1]}, transforms=[]).json()
    assert "transformed_reward" not in off["results"][0]


def test_no_conversations_get_no_results(client: TestClient, scorer: FakeScorer) -> None:
    answer = post(client)
    assert answer.status_code == 200
    assert answer.json() == {"model": None, "revision": None, "results": []}
    assert scorer.asked == []


def test_priority_and_deadline_reach_the_scorer_and_the_services_limit_holds(
    connect: Connect, scorer: FakeScorer
) -> None:
    client = connect(deadline_s=30.0)
    item = {"ids": [1]}
    for terms in (
        {},
        {"priority": 3, "deadline_s": 2},
        {"deadline_s": 1e9, "priority": -1000},
        {"deadline_s": None, "priority": None},
        {"priority": 2.0},
        {"deadline_s": 10**400},
    ):
        assert post(client, item, **terms).status_code == 200
    assert [(p, d) for _, p, d in scorer.asked] == [
        (0, 30.0),
        (3, 2.0),
        (-1000, 30.0),
        (0, 30.0),
        (2, 30.0),
        (0, 30.0),
    ]


def test_results_of_two_revisions_name_none_for_the_whole(
    client: TestClient, scorer: FakeScorer
) -> None:
    scorer.instead = [made_score(1.0, "r1"), made_score(2.0, "r2")]
    body = post(client, {"ids": [1]}, {"ids": [2]}).json()
    assert (body["model"], body["revision"]) == ("fake", None)
    assert [r["revision"] for r in body["results"]] == ["r1", "r2"]


def test_ranking_is_best_first_ties_in_order_errors_last(
    client: TestClient, scorer: FakeScorer
) -> None:
    scorer.instead = [
        made_score(-1.0),
        NotFinite("nan", 1),
        made_score(2.0),
        made_score(-1.0),
        made_score(0.0),
    ]
    answer = client.post("/v1/rank", json={"prompt": "hi", "responses": ["a"] * 5})
    assert answer.status_code == 200
    ranking = answer.json()["ranking"]
    assert [r["response"] for r in ranking] == [2, 4, 0, 3, 1]
    assert [r.get("reward") for r in ranking] == [2.0, 0.0, -1.0, -1.0, None]


def test_a_bad_response_is_ranked_last_with_its_error(client: TestClient) -> None:
    answer = client.post("/v1/rank", json={"prompt": [USER], "responses": [None, "a"]})
    assert answer.status_code == 200
    assert [r["response"] for r in answer.json()["ranking"]] == [1, 0]


def test_model_and_probes_follow_the_replicas(client: TestClient, scorer: FakeScorer) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    model = client.get("/v1/model").json()
    assert (model["model"], model["revision"], model["max_tokens"]) == ("fake", "r1", 4096)
    scorer.serving = False
    assert client.get("/healthz").status_code == 200
    for path in ("/readyz", "/v1/model"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
