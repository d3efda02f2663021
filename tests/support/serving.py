"""A deployed service of fake GPUs, and what tests of it share. Needs a running Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from ray import serve

from cluster.config import ClusterConfig
from cluster.serving.app import assemble
from cluster.serving.client.connect import connect
from cluster.serving.replica.backends import BackendFactory
from cluster.types import TokenIds

PATIENCE_S = 300.0
"""Longer than any recovery takes on a busy machine; no test asserts how long one takes."""


@contextmanager
def service(
    config: ClusterConfig,
    app: str,
    replica_options: dict[str, Any],
    make_backend: BackendFactory | None = None,
    **more: Any,
) -> Iterator[Any]:
    """A deployed app (`more` goes to `deployed`); yields a client actor that is ready."""
    with (
        deployed(config, app, replica_options, make_backend, **more),
        client_of(app) as actor,
    ):
        yield actor


@contextmanager
def deployed(
    config: ClusterConfig,
    app: str,
    replica_options: dict[str, Any],
    make_backend: BackendFactory | None = None,
    **more: Any,
) -> Iterator[None]:
    """An app, over HTTP too if it has a prefix (`more` goes to `deploy`)."""
    deploy(config, app, replica_options, make_backend, **more)
    try:
        yield
    finally:
        serve.delete(app)


def deploy(
    config: ClusterConfig,
    app: str,
    replica_options: dict[str, Any],
    make_backend: BackendFactory | None = None,
    *,
    route_prefix: str | None = None,
    logging_config: dict[str, Any] | None = None,
    batcher_options: dict[str, Any] | None = None,
) -> None:
    """Deploy an app, or deploy it anew.

    logging_config: of the application, as a config file's would be.
    """
    options = {"ray_actor_options": {"num_cpus": 0}, "health_check_period_s": 1} | replica_options
    quiet = {} if logging_config is None else {"logging_config": None}
    application = assemble(
        config,
        make_backend=make_backend,
        replica_options=options,
        batcher_options=batcher_options,
        **quiet,
    )
    serve.run(application, name=app, route_prefix=route_prefix, logging_config=logging_config)


@contextmanager
def client_of(app: str) -> Iterator[Any]:
    """A client actor of a deployed app, ready; it ends with the block."""
    actor: Any = connect(app, name=app, detached=False)
    try:
        ray.get(actor.ready.remote(PATIENCE_S))
        yield actor
    finally:
        ray.kill(actor)


def until(condition: Callable[[], bool]) -> None:
    """Poll until true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def sequences(n: int, rng: np.random.Generator) -> list[TokenIds]:
    """Random ids of 6 to 120 tokens, beginning with 7; no two are equal."""
    return [
        np.concatenate([[7], rng.integers(0, 250, rng.integers(5, 120))]).astype(np.int32)
        for _ in range(n)
    ]
