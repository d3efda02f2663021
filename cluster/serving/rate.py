"""How much a second, over the last seconds. No clock: `now` is passed in."""

from __future__ import annotations

from collections import deque


class Rate:
    """Amounts over a sliding window of `window_s` seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._events: deque[tuple[float, float]] = deque()
        self._sum = 0.0
        self._since: float | None = None

    def add(self, amount: float, now: float) -> None:
        """`amount` happened at `now`."""
        self._since = now if self._since is None else self._since
        self._events.append((now, amount))
        self._sum += amount
        self._forget(now)

    def per_s(self, now: float) -> float:
        """Over the window, or since the first amount if that is shorter; 0 if nothing is known."""
        self._forget(now)
        if self._since is None or now <= self._since:
            return 0.0
        return self._sum / min(self._window_s, now - self._since)

    def _forget(self, now: float) -> None:
        while self._events and self._events[0][0] <= now - self._window_s:
            self._sum -= self._events.popleft()[1]
