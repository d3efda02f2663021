"""Errors: one class = one HTTP status = one metric label.

    RewardError
    ├── InvalidInput          400  the item is malformed; the message says what to change
    │   ├── EmptyInput        400  no text where another server's protocol has a name for that
    │   └── TooLong           413  more tokens (or bytes, or items) than is allowed
    ├── Unauthorized          401  no key, or a wrong one
    ├── TooSlow               408  the request did not arrive in time
    ├── Overloaded            429  the queue is full; retry after `retry_after_s`
    ├── Cancelled             499  the caller gave up before the item was scored
    ├── NotFinite             500  the model answered NaN or infinity
    ├── ScoringFailed         500  the item alone made its replica fail, again and again
    ├── EncoderChanged        503  encoded for another tokenizer or template than the replica serves
    ├── RevisionChanged       503  the weights changed while the call was scored; ask again
    ├── NotReady              503  no replica can serve yet, or any more
    ├── DeadlineExceeded      504  the item's deadline passed before it was scored
    ├── ModelRefused          500  the checkpoint cannot be served rightly; raised at load
    └── ConfigError           500  a config that cannot work; raised at start

`item` is the index of the offending conversation within the call, None if the whole call
is meant. Errors are values too: a batch answers a Score or a RewardError for each item.
All arguments go to `Exception.args`, so errors cross processes by pickle unchanged.
"""

from __future__ import annotations

from typing import ClassVar

MAX_RETRY_AFTER_S = 5.0
"""Longest wait in seconds that a full queue asks for: its drain rate is an estimate, and a client
that waits longer may be waiting for an empty queue."""


class RewardError(Exception):
    """Base of all; never raised itself."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, item: int | None = None) -> None:
        super().__init__(message, item)
        self.message = message
        self.item = item

    def __str__(self) -> str:
        return self.message if self.item is None else f"item {self.item}: {self.message}"

    def at(self, item: int) -> RewardError:
        """The same error, naming the item at index `item`."""
        return type(self)(self.message, item)


class InvalidInput(RewardError, ValueError):
    code = "invalid_input"
    http_status = 400


class EmptyInput(InvalidInput):
    code = "empty_input"


class TooLong(InvalidInput):
    code = "too_long"
    http_status = 413


class Unauthorized(RewardError):
    code = "unauthorized"
    http_status = 401


class TooSlow(RewardError):
    code = "too_slow"
    http_status = 408


class Overloaded(RewardError):
    """`retry_after_s`: seconds after which the queue is expected to have room, at most
    MAX_RETRY_AFTER_S."""

    code = "overloaded"
    http_status = 429
    retryable = True

    def __init__(self, message: str, item: int | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, item)
        self.retry_after_s = min(MAX_RETRY_AFTER_S, retry_after_s)
        self.args = (message, item, self.retry_after_s)

    def at(self, item: int) -> Overloaded:
        return Overloaded(self.message, item, self.retry_after_s)


class Cancelled(RewardError):
    code = "cancelled"
    http_status = 499


class NotFinite(RewardError):
    code = "not_finite"


class ScoringFailed(RewardError):
    code = "scoring_failed"


class NotReady(RewardError):
    code = "not_ready"
    http_status = 503
    retryable = True


class EncoderChanged(RewardError):
    """The same ids would fail again: the process that encoded them must reload the tokenizer and
    encode again."""

    code = "encoder_changed"
    http_status = 503


class RevisionChanged(RewardError):
    code = "revision_changed"
    http_status = 503
    retryable = True


class DeadlineExceeded(RewardError):
    code = "deadline_exceeded"
    http_status = 504


class ModelRefused(RewardError):
    code = "model_refused"


class ConfigError(RewardError, ValueError):
    code = "config_error"


def all_error_classes() -> list[type[RewardError]]:
    """RewardError and every subclass; the metric labels and the OpenAPI read this list."""
    found: list[type[RewardError]] = [RewardError]
    for cls in found:
        found.extend(sub for sub in cls.__subclasses__() if sub not in found)
    return found


def error_of(code: str, message: str) -> RewardError:
    """The error of that code, as received from another process; InvalidInput for a code unknown
    here."""
    found = {cls.code: cls for cls in all_error_classes()}
    return found.get(code, InvalidInput)(message)
