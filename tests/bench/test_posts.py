"""OpenRLHF's loop as a baseline: its answer is transformers' own, padded or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest
import torch
from fastapi.testclient import TestClient
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cluster.bench.openrlhf_loop import PaddedRewardModel, build_app
from cluster.bench.posts import GROUP, Group, Way, measured, texts
from cluster.config import EngineConfig
from cluster.engine.checkpoint import locate
from cluster.engine.encoding.encoder import ChatEncoder


def test_the_loop_answers_with_the_padded_forward_of_transformers() -> None:
    folder = str(locate("tiny"))
    client = TestClient(build_app(PaddedRewardModel(folder)))
    queries = ["1 2", "3 is a text of several more words than the other one has 4"]
    answer = client.post("/get_reward", json={"query": queries}).json()["rewards"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16)
    for query, reward in zip(queries, answer, strict=True):
        ids = tokenizer(query + tokenizer.eos_token, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            alone = model.score(model.model(ids).last_hidden_state[0, -1]).item()
        assert reward == pytest.approx(alone, abs=0.1)
    assert abs(answer[0] - answer[1]) > 0.3, "else the comparison would tell nothing"


def test_a_group_shares_its_prompt_and_its_texts_differ() -> None:
    folder = str(locate("tiny"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = ChatEncoder.load(EngineConfig(model=folder, device="cpu"))
    group = texts(tokenizer, encoder, "seed")
    assert len(set(group.texts)) == GROUP
    encoded = [encoder.encode(text) for text in group.texts]
    assert len({one.input_ids[: one.prompt_len].tobytes() for one in encoded}) == 1
    assert min(one.prompt_len for one in encoded) > 100
    assert sum(one.n_tokens for one in encoded) == group.n_tokens


class Counting(BaseHTTPRequestHandler):
    posts: ClassVar[list[list[str]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).posts.append(body["query"])
        answer = json.dumps({"rewards": [0.0] * len(body["query"])}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def counting() -> Iterator[tuple[str, list[list[str]]]]:
    class Own(Counting):
        posts: ClassVar[list[list[str]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Own.posts
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("size", "n_posts"), [(1, 2 * GROUP), (GROUP, 2)])
def test_every_text_is_posted_once(
    size: int, n_posts: int, counting: tuple[str, list[list[str]]]
) -> None:
    url, posts = counting
    groups = [Group([f"{g} {i}" for i in range(GROUP)], 1) for g in range(2)]
    measured(Way("x", url, size), groups, under_way=8)
    assert len(posts) == n_posts
    sent = [text for post in posts for text in post]
    assert sorted(sent) == sorted(text for group in groups for text in group.texts)
