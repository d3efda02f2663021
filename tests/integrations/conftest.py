"""A service over HTTP for the trainers' hooks: real sockets, rewards that a test can predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.http import FakeScorer
from support.http_server import listening

from cluster.config import EngineConfig, HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.integrations import service
from cluster.serving.http.app import build_http_app
from cluster.serving.replica.backends import fake_reward

Reward = Callable[[Any], float]


@pytest.fixture(scope="session")
def encoder() -> ChatEncoder:
    return ChatEncoder.load(EngineConfig(model="tiny"))


@pytest.fixture(scope="session")
def reward(encoder: ChatEncoder) -> Reward:
    """What the service gives for a conversation."""
    return lambda conversation: fake_reward(encoder.encode(conversation).input_ids, "r1")


@pytest.fixture
def scorer(encoder: ChatEncoder) -> FakeScorer:
    """Behind the service."""
    return FakeScorer(encoder)


@pytest.fixture
def url(scorer: FakeScorer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a service that every hook finds by the environment."""
    with listening(build_http_app(scorer, HttpConfig())) as (host, port):
        monkeypatch.setenv(service.URL_VARIABLE, f"http://{host}:{port}")
        service.hook_service.cache_clear()
        yield f"http://{host}:{port}"
    service.hook_service.cache_clear()
