"""Scoring backend of a command: an engine in this process, or a running service."""

from __future__ import annotations

from collections.abc import Iterable

import click

from cluster.config import EngineConfig
from cluster.data.formats import Scorer


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
    """The service `app`, wherever it is found; waited for as long as `annotate` waits."""
    from cluster.rlhf.reward_service import PATIENCE_S, service_scorer
    from cluster.serving.ray_session import join_service

    join_service(app)
    return service_scorer(app, PATIENCE_S)
