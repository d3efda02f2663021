"""What holds for every dialect: keys, overload, failures, collisions, other templates, noise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support.fuzzing import generated
from support.http import FakeScorer, made_score

from cluster.config import HttpConfig
from cluster.errors import (
    EmptyInput,
    InvalidInput,
    NotFinite,
    NotReady,
    Overloaded,
    RewardError,
    TooLong,
)
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.http.body_reader import BodyReader
from cluster.serving.http.dialects import slime
from cluster.serving.http.dialects.answer import answer
from cluster.serving.http.dialects.endpoint import Parsed
from cluster.serving.http.dialects.retemplate import messages_of
from cluster.serving.http.dialects.table import by_path, taking
from cluster.serving.http.request_limit import RequestLimit
from cluster.serving.http.service import Service
from cluster.serving.logs import LOGGER
from cluster.serving.metrics import ServingMetrics

Connect = Callable[..., TestClient]
PATHS = sorted(by_path(HttpConfig().dialects))
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo\nyo"}]
TEMPLATED = {
    "chatml": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo\nyo<|im_end|>\n",
    "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nyo\nyo<|eot_id|>",
    "gemma": "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\nyo\nyo<end_of_turn>",
}


@pytest.mark.parametrize("path", PATHS)
def test_the_key_guards_every_path_whatever_its_prefix(connect: Connect, path: str) -> None:
    locked = connect(key="secret")
    assert locked.post(path, json={}).status_code == 401
    assert locked.post(path, json={}, headers={"Authorization": "Bearer no"}).status_code == 401
    opened = locked.post(path, json={}, headers={"Authorization": "Bearer secret"})
    assert opened.status_code in (400, 422)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2/models/reward_model/infer", lambda body: body["error"].startswith("send one of")),
        ("/infinity/classify", lambda body: body == {"detail": "Unauthorized"}),
        ("/pooling", lambda body: body["error"]["type"] == "AuthenticationError"),
        ("/predict", lambda body: isinstance(body["error"], str)),
        ("/v1/embeddings", lambda body: isinstance(body["message"], str)),
    ],
)
def test_a_missing_key_is_told_in_the_dialects_own_shape(
    connect: Connect, path: str, told: Callable[[Any], bool]
) -> None:
    answer = connect(key="secret").post(path, json={})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert told(answer.json())


def test_probes_need_no_key(connect: Connect) -> None:
    locked = connect(key="secret")
    paths = ("/healthz", "/readyz", "/health", "/health_generate")
    assert {path: locked.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "tei", "infinity"])
def test_a_client_that_waits_for_health_waits_for_a_replica(
    connect: Connect, scorer: FakeScorer, dialect: str
) -> None:
    scorer.serving = False
    assert connect(dialects=(dialect,)).get("/health").status_code == 503


def test_overload_is_429_with_retry_after_in_the_dialects_own_shape(
    connect: Connect, scorer: FakeScorer
) -> None:
    scorer.instead = [made_score(1.0), Overloaded("full", 1, 2.0)]
    answer = connect().post("/classify", json={"input": ["a", "b"]})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert answer.json()["error"]["type"] == "RateLimitError"


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


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (EmptyInput("nothing"), 400, "Empty"),
        (InvalidInput("the box is empty of sense"), 422, "Validation"),
        (TooLong("9 tokens"), 413, "Validation"),
        (NotFinite("NaN"), 424, "Backend"),
        (Overloaded("full"), 429, "Overloaded"),
        (NotReady("no replica"), 503, "Unhealthy"),
    ],
)
def test_the_kind_of_a_failure_is_told_by_its_class(
    connect: Connect, scorer: FakeScorer, error: RewardError, status: int, kind: str
) -> None:
    """Of text-embeddings-inference, whose clients read it; a message may hold any word."""
    scorer.instead = [error]
    answer = connect().post("/predict", json={"inputs": "hi"})
    assert (answer.status_code, answer.json()["error_type"]) == (status, kind)


def test_a_failure_is_no_number(connect: Connect, scorer: FakeScorer) -> None:
    scorer.instead = [made_score(1.0), TooLong("9 tokens are more than 8", 1)]
    answer = connect().post("/classify", json={"input": ["a", "b"]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "item 1: 9 tokens are more than 8"


def test_permanent_failures_get_the_configured_reward_and_are_listed(
    connect: Connect, scorer: FakeScorer
) -> None:
    client = connect(reward_for_failed=-5.0)
    scorer.instead = [made_score(1.0), NotFinite("the model answered NaN", 1)]
    answer = client.post("/get_reward", json={"query": ["a", "b", 5]})
    assert answer.json()["rewards"] == [1.0, -5.0, -5.0]
    assert answer.headers["X-Failed-Items"] == "1,2"


def test_a_passing_failure_never_gets_the_configured_reward(
    connect: Connect, scorer: FakeScorer
) -> None:
    scorer.instead = [NotReady("no replica", 0)]
    answer = connect(reward_for_failed=-5.0).post("/get_reward", json={"query": ["a"]})
    assert answer.status_code == 503


def test_the_native_route_keeps_its_path(connect: Connect, scorer: FakeScorer) -> None:
    body = {"conversations": [{"prompt": "hi", "response": "yo"}]}
    assert "results" in connect().post("/v1/score", json=body).json()
    refused = connect(dialects=()).post("/v1/score", json={"text_1": "a", "text_2": "b"})
    assert refused.status_code == 400


def test_without_dialects_their_paths_are_not_there(connect: Connect) -> None:
    assert connect(dialects=()).post("/classify", json={"input": "a"}).status_code == 404


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


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted(
    {key for ends in by_path(HttpConfig().dialects).values() for e in ends for key in e.keys}
)
OPTIONS = [
    *("documents", "items", "text_2", "priority", "use_activation", "truncate_prompt_tokens"),
    *("truncation_side", "encoding_format", "top_n", "task", "chat_template", "labels"),
]


@pytest.fixture
def anybody(connect: Connect, caplog: pytest.LogCaptureFixture) -> TestClient:
    """One client for hundreds of bodies, which fill no log."""
    caplog.set_level(logging.ERROR, LOGGER)
    return connect()


@generated(150)
@hypothesis.given(
    st.sampled_from(PATHS), st.dictionaries(st.sampled_from(KEYS + OPTIONS), JSON, max_size=4)
)
def test_no_body_makes_the_service_fail(
    anybody: TestClient, path: str, body: dict[str, Any]
) -> None:
    answer = anybody.post(path, json=body)
    assert answer.status_code in (200, 400, 413, 422), (path, body, answer.text)
