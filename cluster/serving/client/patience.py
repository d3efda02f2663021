"""Caller's patience: how long it waits for a deadline, and its answer once that has passed."""

from __future__ import annotations

import time

from cluster.errors import DeadlineExceeded
from cluster.serving.deadline import Deadline
from cluster.serving.scoring.window_scorer import Item

GRACE_S = 5.0
"""Seconds after a deadline for the actor's own answer to arrive."""


def patience_s(deadline: Deadline | None) -> float | None:
    """Seconds to wait for the actor to report that the deadline has passed; None waits forever."""
    return None if deadline is None else max(0.0, deadline.at - time.time()) + GRACE_S


def is_past(deadline: Deadline | None) -> bool:
    return deadline is not None and time.time() >= deadline.at


def pause_before(deadline: Deadline | None, seconds: float) -> float:
    return seconds if deadline is None else max(0.0, min(seconds, deadline.at - time.time()))


def all_late(n: int, strict: bool) -> list[Item]:
    """The answer of a call whose deadline has passed; strict raises it."""
    if strict and n:
        raise late(0) from None
    return [late(i) for i in range(n)]


def late(i: int) -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before the item was scored", i)
