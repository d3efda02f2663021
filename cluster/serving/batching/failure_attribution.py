"""Failure attribution: which sequences a lost batch makes suspects, and which are proven guilty.

A batch that never began proves nothing. One whose replica died while it held other batches too is a
suspect; one that was alone on its replica is the cause, and so is one whose own forward raised.
Knows no queues.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from ray.exceptions import RayTaskError
from ray.serve.exceptions import ReplicaUnavailableError

from cluster.errors import ScoringFailed
from cluster.serving.batching.retry import PROCESS_DIED
from cluster.serving.replica.exclusive_access import HoldLost


class NotBegun(Exception):
    """The replica was lost before the batch was sent."""


class Verdict(NamedTuple):
    """failed: whether it counts as an attempt. certain: whether nothing else can be the cause."""

    failed: bool
    certain: bool


def judge(error: BaseException, alone: bool) -> Verdict:
    """The verdict on the batch that ended with `error`. alone: whether it had its replica to
    itself."""
    cause = _cause(error)
    if isinstance(cause, NotBegun | HoldLost | ReplicaUnavailableError):
        return Verdict(False, False)
    if isinstance(cause, (*PROCESS_DIED, asyncio.CancelledError)):
        return Verdict(True, alone)
    return Verdict(True, True)


def is_deadly(error: BaseException) -> bool:
    """Whether the replica died of it."""
    return isinstance(error, PROCESS_DIED)


def given_up(error: BaseException, failures: int) -> ScoringFailed:
    """The error for the client, which names only the class; the log has the rest."""
    what = "its replica died" if is_deadly(error) else f"{type(_cause(error)).__name__} was raised"
    return ScoringFailed(
        f"{what} whenever this item was scored, {failures} times; the service's log says more"
    )


def _cause(error: BaseException) -> BaseException:
    return error.cause if isinstance(error, RayTaskError) else error
