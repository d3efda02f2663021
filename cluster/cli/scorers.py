"""Where a command's scores come from: an engine of its own, or a running service."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable

import click

from cluster.config import EngineConfig
from cluster.rows import Scorer


def scorer(config: EngineConfig, app: str | None) -> Scorer:
    """An engine in this process, or where `app` is given the Serve application of that name."""
    return _engine(config) if app is None else _service(app)


def refuse_beside_app(app: str | None, given: Iterable[str]) -> None:
    """An option of the engine would be ignored beside `--app`. Raises UsageError."""
    names = ", ".join(sorted(given))
    if app is not None and names:
        raise click.UsageError(f"--app scores by the service's own model; leave out {names}")


def _engine(config: EngineConfig) -> Scorer:
    from cluster.engine.offline import OfflineScorer

    return OfflineScorer.load(config).score


def _service(app: str) -> Scorer:
    """The service `app` of the Ray that runs here."""
    from cluster.serving.client import RewardService, connect

    join_ray()
    client = connect(app, name=f"command-{uuid.uuid4().hex[:8]}", detached=False)
    return RewardService(client=client).score


def join_ray() -> None:
    """Join the Ray that runs here, unless this process already has."""
    import ray

    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
