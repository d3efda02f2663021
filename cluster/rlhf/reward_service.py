"""Rewards for a run: an engine in this process, or a service with a limit on the wait for it."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.config import EngineConfig
from cluster.data.formats import Scorer
from cluster.errors import DeadlineExceeded, NotReady, RewardError
from cluster.types import Conversation, Score

PATIENCE_S = 600.0
"""Default seconds to wait for a service that does not answer."""


def scorer(config: EngineConfig, app: str | None, patience_s: float = PATIENCE_S) -> Scorer:
    """An engine of `config` in this process or, if `app` is given, the Serve application of that
    name: in the Ray that this process has joined, or else wherever it is found."""
    return engine_scorer(config) if app is None else app_scorer(app, patience_s)


def engine_scorer(config: EngineConfig) -> Scorer:
    """An engine in this process. Raises ModelRefused and ConfigError as `Engine.load` does."""
    from cluster.engine.offline import OfflineScorer

    return OfflineScorer.load(config).score


def app_scorer(app: str, patience_s: float = PATIENCE_S) -> Scorer:
    """The Serve application `app`, whose Ray is joined. Raises NotReady where there is none."""
    from cluster.serving.ray_session import join_service

    join_service(app)
    return service_scorer(app, patience_s)


def service_scorer(app: str, patience_s: float) -> Scorer:
    """The Serve application `app` of the Ray that this process has joined.

    Raises NotReady if a call has not been answered completely after `patience_s` seconds: that is
    the service's failure and not a chat's.
    """
    from cluster.serving.client.connect import RewardService

    service = RewardService(app)

    def score(conversations: Sequence[Conversation]) -> list[Score | RewardError]:
        results = service.score(conversations, deadline_s=patience_s)
        refuse_silence(results, app, patience_s)
        return results

    return score


def refuse_silence(results: Sequence[object], app: str, patience_s: float) -> None:
    """Raises NotReady if any result is that the service did not answer in time."""
    late = sum(isinstance(result, DeadlineExceeded | NotReady) for result in results)
    if late:
        raise NotReady(
            f"the reward service {app!r} left {late} of {len(results)} chats unanswered for "
            f"{patience_s:.0f} s; what is done is kept: give the command again once it is back"
        )
