"""Contenders of an evaluation: an engine, a Serve application, a service by URL, or a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.config import EngineConfig
from cluster.data.formats import Scorer
from cluster.rlhf.reward_service import PATIENCE_S, app_scorer, engine_scorer


@dataclass(frozen=True, slots=True)
class Contender:
    """One model of an evaluation. load: makes its scorer when its turn comes.

    made_from: what its rewards depend on, JSON values; a run is only resumed if it is the same.
    in_process: whether its weights are in this process, to be freed before the next one's come.
    """

    name: str
    load: Callable[[], Scorer]
    made_from: Mapping[str, Any] = field(default_factory=dict)
    in_process: bool = False


def split_revision(text: str) -> dict[str, str]:
    """A model and its revision, of MODEL[@REVISION]; a folder's name may hold an @."""
    name, at, revision = text.rpartition("@")
    return (
        {"model": name, "revision": revision} if at and not Path(text).exists() else {"model": text}
    )


def engine(config: EngineConfig) -> Contender:
    """An engine in this process."""
    name = config.model if config.revision is None else f"{config.model}@{config.revision}"
    made_from = {"engine": asdict(config)}
    return Contender(name, lambda: engine_scorer(config), made_from, in_process=True)


def application(app: str) -> Contender:
    """The Serve application of that name, in the Ray that is found."""
    return Contender(f"app {app}", lambda: app_scorer(app), {"app": app})


def service(url: str, key: str | None = None) -> Contender:
    """A reward service by the URL of its HTTP ingress; key: its API key, if it wants one."""

    def load() -> Scorer:
        from cluster.serving.client.http_client import HttpClient

        return HttpClient(url, key, patience_s=PATIENCE_S).score

    return Contender(url, load, {"url": url})
