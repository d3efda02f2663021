"""What can be looked at without a forward: tokens of chats, the service's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer

PAIR = {"prompt": "hi", "response": "there"}


def test_the_tokens_of_a_chat_are_its_templated_text(
    client: TestClient, scorer: FakeScorer
) -> None:
    answer = client.post("/v1/tokenize", json={"conversations": [PAIR]})
    (found,) = answer.json()["results"]
    encoded = scorer.encoder.encode(("hi", "there"))
    assert found["ids"] == encoded.input_ids.tolist()
    assert "".join(found["tokens"]) == (
        "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nthere<|eot_id|>"
    )
    own = found["tokens"][found["prompt_len"] :]
    assert "".join(own) == "there<|eot_id|>"
    assert (found["item"], found["n_bos"], found["truncated"]) == (0, 0, False)
    assert scorer.asked == []  # nothing is scored


def test_a_part_of_a_character_has_a_token_and_no_text_of_its_own(client: TestClient) -> None:
    chat = {"prompt": "é", "response": "x"}
    (found,) = client.post("/v1/tokenize", json={"conversations": [chat]}).json()["results"]
    assert len(found["tokens"]) == len(found["ids"])
    assert found["tokens"].count("\ufffd") == 2


def test_an_item_that_cannot_be_encoded_is_an_error_at_its_place(client: TestClient) -> None:
    body = {"conversations": [{"messages": []}, {"prompt": "hi", "responses": ["a", "b"]}, 7]}
    answer = client.post("/v1/tokenize", json=body)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [(r["item"], r.get("response"), "error" in r) for r in results] == [
        (0, None, True),
        (1, 0, False),
        (1, 1, False),
        (2, None, True),
    ]


def test_where_nothing_can_be_encoded_the_call_fails(client: TestClient) -> None:
    answer = client.post("/v1/tokenize", json={"conversations": [{"messages": []}]})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_input"
    assert len(answer.json()["results"]) == 1


def test_the_state_is_the_record_of_the_status_command(client: TestClient) -> None:
    record = client.get("/v1/status").json()
    assert (record["app"], record["status"], record["totals"]["batches"]) == ("fake", "RUNNING", 3)
    assert record["at"] > 1.7e9  # seconds since 1970: comparable between machines


@pytest.mark.parametrize("ask", [("post", "/v1/tokenize"), ("get", "/v1/status")])
def test_looking_wants_a_key_as_scoring_does(
    connect: Callable[..., TestClient], tmp_path: Any, ask: tuple[str, str]
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    locked = connect(keys_file=str(keys))
    assert locked.request(*ask, json={"conversations": [PAIR]}).status_code == 401
    opened = {"Authorization": "Bearer secret"}
    answer = locked.request(*ask, json={"conversations": [PAIR]}, headers=opened)
    assert answer.status_code == 200
