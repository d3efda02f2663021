"""Deadline: one absolute moment per call, carried through every process on the way.

Between processes a deadline is a moment on the wall clock, so that time in transit (an actor's
queue, references, a restart that runs the call again) counts. Inside a process it is a moment on
`time.monotonic`, converted once, by `receive`.

Clocks of two machines differ. A `Deadline` therefore also says how much time was left when it was
sent: the receiver grants at most that, and `SKEW_S` more than its own clock says. While clocks
differ by less than `SKEW_S`, no deadline passes early, and it passes late by at most the time in
transit, and by no more than 2 x `SKEW_S`. Clocks further apart move deadlines by the excess: run
NTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

from cluster.errors import DeadlineExceeded, InvalidInput
from cluster.serving.call_options import check_call_options

T = TypeVar("T")

GRACE_S = 1.0
"""Seconds after a deadline in which the batcher's own report of it may still arrive."""
SKEW_S = 1.0
"""Seconds by which the clocks of two machines may differ; NTP keeps them within a tenth."""


class Deadline(NamedTuple):
    """at: seconds since the epoch, on the sender's clock. left_s: seconds left when it was sent."""

    at: float
    left_s: float

    @classmethod
    def after(cls, seconds: float | None) -> Deadline | None:
        """`seconds` from now; None means no deadline."""
        return None if seconds is None else cls(time.time() + seconds, seconds)

    @classmethod
    def of(cls, deadline: float | None) -> Deadline | None:
        """For another process. deadline: on this process's `time.monotonic`; None means no
        deadline."""
        return None if deadline is None else cls.after(deadline - time.monotonic())

    def left(self, wall: float) -> float:
        """Seconds that a receiver whose clock shows `wall` grants."""
        return min(self.left_s, self.at - wall + SKEW_S)


def receive(deadline: Deadline | float | None) -> float | None:
    """The deadline on this process's `time.monotonic`. A plain number is a moment, as `time.time()
    + 30`.

    Raises InvalidInput if it is not a finite number.
    """
    if deadline is None:
        return None
    if isinstance(deadline, tuple):
        if len(deadline) != 2:
            raise InvalidInput("a deadline is a Deadline, seconds since the epoch, or None")
        deadline = Deadline(*deadline)
        check_call_options(0, deadline.at)
        check_call_options(0, deadline.left_s)
        return time.monotonic() + deadline.left(time.time())
    check_call_options(0, deadline)
    return time.monotonic() + deadline - time.time()


async def within(call: Awaitable[T], deadline: float | None) -> T:
    """Await a Serve response until shortly after `deadline`, then cancel it.

    The batcher itself answers at the deadline; the grace is for its answer to arrive.
    """
    timeout = None if deadline is None else max(0.0, deadline - time.monotonic()) + GRACE_S
    try:
        async with asyncio.timeout(timeout):
            return await call
    except (TimeoutError, asyncio.CancelledError) as error:
        cancel = getattr(call, "cancel", None)
        if cancel is not None:
            cancel()
        if isinstance(error, TimeoutError):
            raise DeadlineExceeded("the service did not answer in time") from None
        raise


async def pause(seconds: float, deadline: float | None) -> bool:
    """Sleep, at most until `deadline`; False if it has passed already."""
    left = seconds if deadline is None else min(seconds, deadline - time.monotonic())
    if left <= 0:
        return False
    await asyncio.sleep(left)
    return True
