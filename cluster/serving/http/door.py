"""What is let in: so many requests at once, and none once the service is about to end.

Probes do not pass here, so that they are answered however full the service is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.errors import NotReady, Overloaded


class Door:
    """Counts the requests inside. Everything runs on one event loop."""

    def __init__(self, max_requests: int) -> None:
        self.draining = False
        self._max_requests = max_requests
        self._inside = 0

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Inside while the block runs. Raises Overloaded or NotReady."""
        if self.draining:
            raise NotReady("the service is about to end and takes nothing new; ask another")
        if self._inside >= self._max_requests:
            raise Overloaded(
                f"{self._inside} requests are being scored, see http.max_requests",
                retry_after_s=1.0,
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
