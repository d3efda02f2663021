"""Request limit: concurrent requests and tokens, and none while the service drains.

Probes do not pass through it, so they are answered however full the service is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.config import HttpConfig
from cluster.errors import NotReady, Overloaded


class RequestLimit:
    """n_inside: requests. Everything runs on one event loop."""

    def __init__(self, config: HttpConfig) -> None:
        self.draining = False
        self._max_requests = config.max_requests
        self._max_tokens = config.max_tokens_per_request
        self.n_inside = 0
        self._tokens = 0

    @contextmanager
    def passed(self, least_tokens: int) -> Iterator[None]:
        """Counts a request of at least `least_tokens` while the block runs. Raises Overloaded or
        NotReady.

        By that lower bound all requests together may hold as many tokens as a single one may. The
        true number is a small factor larger (English has 4 to 5 characters per token; the bound
        assumes 16).
        """
        if self.draining:
            raise NotReady("the service is shutting down and accepts nothing new; use another")
        if self.n_inside >= self._max_requests:
            raise Overloaded(
                f"{self.n_inside} requests are being scored, see http.max_requests",
                retry_after_s=1.0,
            )
        if self.n_inside and self._tokens + least_tokens > self._max_tokens:
            raise Overloaded(
                "too much data is in flight in other requests; retry", retry_after_s=1.0
            )
        self.n_inside += 1
        self._tokens += least_tokens
        try:
            yield
        finally:
            self.n_inside -= 1
            self._tokens -= least_tokens
