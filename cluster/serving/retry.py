"""Which failures of a call are worth trying again, and after how long. No state, no Ray calls."""

from __future__ import annotations

import random

from ray.exceptions import ActorDiedError, ActorUnavailableError, OwnerDiedError, RayTaskError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)

from cluster.errors import Overloaded, RewardError

LOST: tuple[type[Exception], ...] = (
    ActorDiedError,
    ActorUnavailableError,
    OwnerDiedError,
    ReplicaUnavailableError,
)
"""The process that was answering is gone. Scoring is pure, so asking again is safe."""

BUSY: tuple[type[Exception], ...] = (BackPressureError, DeploymentUnavailableError)
"""Nobody took the call."""


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, RewardError):
        return error.retryable
    return isinstance(error, LOST + BUSY)


def plain(error: BaseException) -> BaseException:
    """The project's own error inside a RayTaskError, else the error itself."""
    cause = getattr(error, "cause", None)
    if isinstance(error, RayTaskError) and isinstance(cause, RewardError):
        return cause
    return error


def pause_s(error: BaseException, attempt: int) -> float:
    """Seconds before the next attempt: what the queue asks for, else 50 ms doubling to 2 s.

    Jittered, so that clients that failed together do not come back together.
    """
    if isinstance(error, Overloaded):
        return max(0.02, error.retry_after_s) * random.uniform(0.5, 1.5)
    return min(2.0, 0.05 * 2.0 ** min(attempt, 6)) * random.uniform(0.5, 1.0)
