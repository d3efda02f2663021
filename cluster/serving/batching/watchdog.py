"""Watchdog: notices that nothing progresses although work waits. No clock: `now` is passed in."""

from __future__ import annotations


class Watchdog:
    """limit_s: seconds without progress although it was possible all the time."""

    def __init__(self, limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._since = now

    def stalled(self, now: float, could_move: bool, moved_at: float) -> bool:
        """Whether it has stalled; to be called regularly. moved_at: when there was progress
        last."""
        self._since = max(self._since, moved_at) if could_move else now
        return now - self._since > self._limit_s
