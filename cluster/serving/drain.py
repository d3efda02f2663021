"""How fast the queue empties, seen from the queue. Pure: `now` is passed in."""

from __future__ import annotations

RETRY_AFTER_S = (0.1, 60.0)
"""Least and most that a refused caller is asked to wait."""
UNKNOWN_S = 1.0
"""Asked before any rate is known."""


class DrainRate:
    """Unique tokens a second that the devices take, seen from the queue.

    Only the time between cuts counts while something waits: then a cut follows as soon as a
    device is free. Older cuts fade, by a tenth with each new one.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._tokens = 0.0
        self._seconds = 0.0

    def cut(self, n_tokens: int, now: float, *, more_waits: bool) -> None:
        """A cut of `n_tokens` unique tokens at `now`."""
        if self._since is not None:
            self._tokens = 0.9 * self._tokens + n_tokens
            self._seconds = 0.9 * self._seconds + now - self._since
        self._since = now if more_waits else None

    def idle(self) -> None:
        """Nothing waits: the time until the next cut says nothing."""
        self._since = None

    def seconds_for(self, n_tokens: int) -> float:
        """Until that many have left, within RETRY_AFTER_S; UNKNOWN_S before any rate is."""
        if self._tokens <= 0 or self._seconds <= 0:
            return UNKNOWN_S
        low, high = RETRY_AFTER_S
        return min(high, max(low, n_tokens * self._seconds / self._tokens))
