"""How a dialect's request is read: items one by one, text parts, priorities, other templates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer

from cluster.config import HttpConfig
from cluster.errors import InvalidInput, TooLong
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.http.body_reader import BodyReader
from cluster.serving.http.dialects import slime
from cluster.serving.http.dialects.answer import answer
from cluster.serving.http.dialects.endpoint import Parsed
from cluster.serving.http.dialects.retemplate import messages_of
from cluster.serving.http.dialects.table import by_path, taking
from cluster.serving.http.request_limit import RequestLimit
from cluster.serving.http.service import Service
from cluster.serving.metrics import ServingMetrics

Connect = Callable[..., TestClient]
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo\nyo"}]
TEMPLATED = {
    "chatml": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo\nyo<|im_end|>\n",
    "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nyo\nyo<|eot_id|>",
    "gemma": "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\nyo\nyo<end_of_turn>",
}
TEXT_PART = {"type": "text", "text": "hi"}
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:,"}}


def test_text_parts_of_a_message_are_scored_as_their_text(
    connect: Connect, scorer: FakeScorer
) -> None:
    client = connect()
    said, answered = TEXT_PART | {"text": "one"}, {"role": "assistant", "content": "yo"}
    scores = [
        client.post(
            "/classify", json={"messages": [{"role": "user", "content": content}, answered]}
        )
        for content in ([TEXT_PART, said], "hi\none")
    ]
    in_parts, as_text = [score.json()["data"][0]["probs"] for score in scores]
    assert in_parts == as_text
    slime = {"prompt": [{"role": "user", "content": [TEXT_PART, said]}], "response": "yo"}
    assert client.post("/get_reward", json=slime).json() == as_text[0]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/classify", {"messages": [{"role": "user", "content": [TEXT_PART, IMAGE_PART]}]}),
        ("/pooling", {"messages": [{"role": "user", "content": [TEXT_PART, IMAGE_PART]}]}),
        (
            "/get_reward",
            {"prompt": [{"role": "user", "content": [TEXT_PART, IMAGE_PART]}], "response": "yo"},
        ),
    ],
)
def test_a_part_that_is_no_text_is_named(connect: Connect, path: str, body: Any) -> None:
    answer = connect().post(path, json=body)
    assert answer.status_code == 400
    assert "message 0: part 1 of content" in answer.json()["error"]["message"]
    assert "'image_url'" in answer.json()["error"]["message"]


class Counted(list[Any]):
    """A list that counts what is read of it."""

    n_read = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            self.n_read += 1
            yield each


MANY: list[tuple[str, dict[str, Any]]] = [
    ("/get_reward", {"query": Counted([5] * 1000)}),
    ("/classify", {"input": Counted([""] * 1000)}),
    ("/classify", {"input": Counted([[]] * 1000)}),
    ("/classify", {"text": Counted([""] * 1000)}),
    ("/infinity/classify", {"input": Counted([5] * 1000)}),
    ("/v1/score/evaluation", {"messages": Counted([5] * 1000)}),
    ("/score", {"text_1": Counted([5] * 1000), "text_2": ["x"] * 1000}),
]


@pytest.mark.parametrize(("path", "body"), MANY)
def test_items_are_read_one_by_one(path: str, body: dict[str, Any]) -> None:
    """A body of eight megabytes may hold four million bad ones, each of which costs an error."""
    endpoint = taking(by_path(HttpConfig().dialects)[path], body)
    assert endpoint is not None
    asked = iter(endpoint.parse(body).conversations_N)
    (items,) = (each for each in body.values() if isinstance(each, Counted))
    assert items.n_read <= 1
    assert isinstance(next(asked), InvalidInput)
    assert items.n_read <= 2


def test_no_more_items_are_read_than_are_allowed(scorer: FakeScorer) -> None:
    config = HttpConfig(max_items=3)
    read: list[int] = []

    def asked() -> Iterator[str]:
        for i in range(100):
            read.append(i)
            yield "text"

    service = Service(
        scorer, config, ServingMetrics(), KeyRing(), RequestLimit(config), BodyReader(config)
    )
    endpoint = replace(slime.ENDPOINTS[0], parse=lambda body: Parsed(asked()))
    with pytest.raises(TooLong):
        asyncio.run(answer(service, endpoint, {}, "id"))
    assert len(read) == 4


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        ("/classify", {"text": "a", "priority": 5}, 5),
        ("/v1/embeddings", {"input": "a", "priority": 5}, 5),
        ("/classify", {"input": "a", "priority": 5}, -5),
        ("/score", {"text_1": "a", "text_2": "b", "priority": -5}, 5),
    ],
)
def test_a_priority_means_what_it_means_in_the_dialect(
    connect: Connect, scorer: FakeScorer, path: str, body: dict[str, Any], asked: int
) -> None:
    """Higher is sooner in SGLang, as here; lower is sooner in vLLM."""
    assert connect().post(path, json=body).status_code == 200
    assert [priority for _, priority, _ in scorer.asked] == [asked]


def test_a_document_that_is_no_text_is_named(connect: Connect) -> None:
    answer = connect().post("/rerank", json={"query": "q", "documents": ["a", 5]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("item 1: `documents` must be a string")


@pytest.mark.parametrize("template", TEMPLATED)
def test_text_of_another_template_is_scored_as_its_messages(
    connect: Connect, scorer: FakeScorer, template: Any
) -> None:
    client = connect(retemplate=template)
    answer = client.post("/get_reward", json={"query": [TEMPLATED[template]]})
    assert answer.status_code == 200
    assert scorer.asked[0][0] == [CHAT]


@pytest.mark.parametrize("template", TEMPLATED)
@pytest.mark.parametrize("broken", ["plain text", "{}tail", "head{}"])
def test_text_that_the_rule_cannot_read_whole_is_an_error(template: Any, broken: str) -> None:
    with pytest.raises(ValueError, match=f"not of the {template} chat template"):
        messages_of(broken.format(TEMPLATED[template]), template)
