"""The HTTP app in this process, over a scorer whose rewards a test can predict."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient
from support.http import FakeInspector, FakeScorer

from cluster.config import HttpConfig
from cluster.serving.http.app import build_http_app
from cluster.serving.metrics import ServingMetrics

Connect = Callable[..., TestClient]


@pytest.fixture
def connect(scorer: FakeScorer, metrics: ServingMetrics) -> Connect:
    """`connect(max_items=2)`: a client of an app with that HttpConfig."""

    def make(**config: object) -> TestClient:
        limits = HttpConfig(**config)  # type: ignore[arg-type]
        app = build_http_app(scorer, limits, metrics, inspector=FakeInspector(scorer.encoder))
        return TestClient(app, base_url="http://localhost:8000")

    return make


@pytest.fixture
def client(connect: Connect) -> TestClient:
    return connect()
