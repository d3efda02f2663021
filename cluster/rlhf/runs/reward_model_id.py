"""Reward model identity: rewards of two models are never mixed."""

from __future__ import annotations

from cluster.data.formats import Scorer
from cluster.errors import RewardError
from cluster.types import Message, Score

_PROBE = ([Message(role="user", content="Hi")], "Hello!")


def scored_by(score: Scorer) -> dict[str, str]:
    """Its model, revision and numerics, by scoring one chat. Raises that chat's RewardError."""
    [result] = score([_PROBE])
    if isinstance(result, RewardError):
        raise result
    return identity(result)


def identity(score: Score) -> dict[str, str]:
    """What a score's bits depend on besides its chat."""
    return {"model": score.model, "revision": score.revision, "numerics": score.numerics}
