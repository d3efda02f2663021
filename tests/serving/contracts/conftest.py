"""The HTTP app in this process, over a scorer that answers what a test says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer

from cluster.config import HttpConfig
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.http.app import build_http_app
from cluster.serving.http.request_limit import RequestLimit
from cluster.serving.metrics import ServingMetrics

Connect = Callable[..., TestClient]


@pytest.fixture
def connect(scorer: FakeScorer, metrics: ServingMetrics) -> Connect:
    """`connect(dialects=[...])`: a client of an app with that HttpConfig; `key` locks it, `door` is
    its limit."""

    def make(key: str = "", door: RequestLimit | None = None, **config: object) -> TestClient:
        keys = KeyRing.of([key.encode()] if key else [])
        limits = HttpConfig(**config)  # type: ignore[arg-type]
        app = build_http_app(scorer, limits, metrics, keys=keys, door=door)
        return TestClient(app, base_url="http://localhost:8000")

    return make
