"""Token limit of a call, counted while it is encoded window by window.

Knows nothing of conversations; the lower bound of a request's tokens is `http.request_parser`'s.
"""

from __future__ import annotations

from cluster.errors import TooLong


class CallTokens:
    """Tokens of one call. too_many: raised by `add`; the whole call then ends with it."""

    def __init__(self, limit: int | None) -> None:
        self.too_many = too_many_tokens(limit or 0)
        self._limit = limit
        self._n = 0

    def add(self, n: int) -> None:
        """Raises `too_many` once the call holds more than its limit."""
        self._n += n
        if self._limit is not None and self._n > self._limit:
            raise self.too_many


def too_many_tokens(limit: int) -> TooLong:
    """For a request as a whole."""
    return TooLong(
        f"the request holds more than {limit} tokens, a shared prompt counted for each of its "
        "responses; split it, or raise http.max_tokens_per_request"
    )
