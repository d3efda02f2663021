"""The HTTP app in this process, over a scorer that answers what a test says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer

from cluster.config import EngineConfig, HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.http.app import build_http_app

Connect = Callable[..., TestClient]


@pytest.fixture
def scorer(byte_tokenizer: str) -> FakeScorer:
    return FakeScorer(ChatEncoder.load(EngineConfig(model=byte_tokenizer)))


@pytest.fixture
def connect(scorer: FakeScorer) -> Connect:
    """`connect(dialects=[...])`: a client of an app with that HttpConfig; `key` locks it."""

    def make(key: str = "", **config: object) -> TestClient:
        keys = KeyRing.of([key.encode()] if key else [])
        app = build_http_app(scorer, HttpConfig(**config), keys=keys)  # type: ignore[arg-type]
        return TestClient(app, base_url="http://localhost:8000")

    return make
