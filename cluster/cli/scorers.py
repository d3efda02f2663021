"""Where a command's scores come from: an engine of its own, or a running service."""

from __future__ import annotations

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
    """The service `app`, wherever it is found."""
    from cluster.serving.client import RewardService, connect

    join_service(app)
    client = connect(app, name=f"command-{uuid.uuid4().hex[:8]}", detached=False)
    return RewardService(client=client).score


def join_service(app: str, address: str | None = None) -> None:
    """Join the Ray that serves `app`. Raises NotReady where there is none, within seconds."""
    from cluster.serving.ray_session import join, require_app

    join(address, app=app, quiet=True)
    require_app(app)
