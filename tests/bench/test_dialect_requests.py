"""The dialect benchmark's requests are requests: the service takes each as its client's."""

from __future__ import annotations

import numpy as np
import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer

from cluster.bench.dialect_requests import N_TOKENS, REQUESTS, DialectRequest, templated_texts
from cluster.bench.dialects import _in_process_s
from cluster.config import EngineConfig, HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.http.app import build_http_app


@pytest.fixture(scope="module")
def encoder() -> ChatEncoder:
    return ChatEncoder.load(EngineConfig())


@pytest.mark.parametrize("request_of", REQUESTS, ids=lambda each: each.name)
def test_every_request_asks_for_its_items(encoder: ChatEncoder, request_of: DialectRequest) -> None:
    scorer = FakeScorer(encoder)
    app = build_http_app(scorer, HttpConfig(), keys=KeyRing())
    client = TestClient(app, base_url="http://localhost:8000")
    texts = templated_texts(encoder, request_of.n_items, np.random.default_rng(0))
    content = request_of.content(texts)
    answer = client.post(request_of.path, content=content.body, headers=dict(content.headers))
    assert answer.status_code == 200, answer.text
    [(conversations, *_)] = scorer.asked
    assert len(conversations) == request_of.n_items
    lengths = [encoder.encode(each).n_tokens for each in conversations]
    assert np.mean(lengths) == pytest.approx(N_TOKENS, rel=0.1)
    parse_s, render_s = _in_process_s(request_of, content)
    assert min(parse_s, render_s) > 0


def test_no_two_texts_are_alike(encoder: ChatEncoder) -> None:
    texts = templated_texts(encoder, 64, np.random.default_rng(0))
    assert len(set(texts)) == 64
