"""Retry policy: which failures are retried, and after how long. No state, no Ray calls."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RaySystemError,
    RayTaskError,
    RpcError,
    WorkerCrashedError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    RequestCancelledError,
)

from cluster.errors import MAX_RETRY_AFTER_S, Overloaded, RewardError

PROCESS_DIED: tuple[type[Exception], ...] = (
    ActorDiedError,
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,  # and its family: OwnerDiedError, ObjectFetchTimedOutError, ...
    ReplicaUnavailableError,
    RequestCancelledError,
    RpcError,
    WorkerCrashedError,
)
"""The process that was answering, its node, or the answer itself is gone. Scoring is pure, so
asking again is safe."""

BUSY: tuple[type[Exception], ...] = (BackPressureError, DeploymentUnavailableError)
"""Nobody accepted the call."""


class AnswerIncomplete(Exception):
    """A call ended without an answer for every item and without saying why."""


DOUBTFUL: tuple[type[Exception], ...] = (RaySystemError, AnswerIncomplete)
"""Temporary if a node or process has just gone, permanent if it is a bug: retried a few times
only."""
DOUBTFUL_ATTEMPTS = 3


def is_retryable(error: BaseException, attempt: int = 0) -> bool:
    """Whether the same call may succeed later. attempt: how many have failed before this one."""
    if isinstance(error, RewardError):
        return error.retryable
    if isinstance(error, DOUBTFUL):
        return attempt + 1 < DOUBTFUL_ATTEMPTS
    # Serve raises CancelledError for a request whose task was cancelled. The caller checks first
    # whether it is being cancelled itself.
    return isinstance(error, (*PROCESS_DIED, *BUSY, asyncio.CancelledError))


def unwrap_ray_error(error: BaseException) -> BaseException:
    """The project's own error, or the lost process, wrapped in RayTaskErrors; else the error
    itself."""
    known: tuple[type[BaseException], ...] = (RewardError, *PROCESS_DIED, *BUSY)
    inner: Any = error
    while isinstance(inner, RayTaskError):
        inner = getattr(inner, "cause", None)
        if isinstance(inner, known):
            return inner
    return error


def being_cancelled() -> bool:
    """Whether the current task is being cancelled, so that its CancelledError is no lost call."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def pause_s(error: BaseException, attempt: int) -> float:
    """Seconds before the next attempt: what the queue asks for, else 50 ms doubling to 2 s.

    Never more than MAX_RETRY_AFTER_S, since room may come sooner than predicted. Jittered, so that
    clients that failed together do not come back together.
    """
    if isinstance(error, Overloaded):
        return min(MAX_RETRY_AFTER_S, max(0.02, error.retry_after_s)) * random.uniform(0.5, 1.0)
    return min(2.0, 0.05 * 2.0 ** min(attempt, 6)) * random.uniform(0.5, 1.0)
