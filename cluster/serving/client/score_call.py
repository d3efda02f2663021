"""Score call over HTTP: its request bodies, the meaning of answers, when to retry. Does no I/O.

A call goes out in one body, or in several where that is too large. What the service asks to retry
(429, 503), and what gets no answer, is retried until patience ends. Both HTTP clients drive it; the
contract is `/openapi.json` of a service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.errors import (
    DeadlineExceeded,
    NotReady,
    RewardError,
    TooLong,
    Unauthorized,
)
from cluster.serving.call_options import check_call_options
from cluster.serving.client.answer import (
    PAUSE_S,
    Answer,
    error_in,
    object_of,
    report_of,
    results_of,
    retry_after_s,
)
from cluster.serving.client.request_body import halves, json_items, request_body, windows
from cluster.serving.deadline import GRACE_S
from cluster.serving.scoring.transformed import Transforms, parse_transforms, with_transformed
from cluster.types import Conversation, Score

PATH = "/v1/score"
HEADERS = {"Content-Type": "application/json"}
SURE_BYTES = 2**20
"""A body as small as this gets its answer even where that comes before it is read."""
LEAST_S = 1.0
"""Seconds that any answer may take, however short patience or deadline are."""


class ScoreCall:
    """The state of one call: `while (body := next_body()) is not None`, send it, `take` the answer
    or report that it `failed`, sleep for `pause_s`; then `results`."""

    def __init__(
        self,
        url: str,
        conversations: Sequence[Conversation],
        patience_s: float,
        priority: int = 0,
        deadline_s: float | None = None,
        transforms: Transforms = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """patience_s: how long a busy or silent service is retried; without a deadline, also how
        long one answer may take.
        deadline_s: from now, after which what is unscored is DeadlineExceeded.
        transforms: applied to the whole call, as a large one is sent in parts.

        Raises InvalidInput for an invalid priority, deadline or transform."""
        check_call_options(priority, deadline_s)
        self._steps = parse_transforms(transforms)
        self._url, self._clock, self._patience_s = url, clock, patience_s
        self._conversations, self._priority = list(conversations), priority
        found = dict(enumerate(json_items(self._conversations)))
        self._items = {i: item for i, item in found.items() if isinstance(item, bytes)}
        self._results: dict[int, Score | RewardError] = {
            i: item for i, item in found.items() if isinstance(item, RewardError)
        }
        self._windows = windows(self._items)
        self._patience_ends = clock() + patience_s
        self._deadline = None if deadline_s is None else clock() + deadline_s
        self.pause_s = 0.0

    def next_body(self) -> bytes | None:
        """The JSON to send now; None when every item has its result."""
        left = None if self._deadline is None else self._deadline - self._clock()
        if left is not None and left <= 0:
            self._end_by_deadline()
        if not self._windows:
            return None
        return request_body((self._items[i] for i in self._windows[-1]), self._priority, left)

    @property
    def limit_s(self) -> float:
        """Seconds that the answer may take. What passes its deadline the service itself says."""
        if self._deadline is None:
            return max(self._patience_s, LEAST_S)
        return max(self._deadline - self._clock() + GRACE_S, LEAST_S)

    def take(self, answer: Answer) -> None:
        """The service's answer to the last body.

        Raises Unauthorized, NotReady (no reward service, or patience has ended), or the error of
        the whole call.
        """
        window, found = self._windows[-1], object_of(answer)
        if answer.status in (401, 403):
            reason = report_of(found).get("message", "not authorized")
            raise Unauthorized(f"{self._url}: {reason}; give the service's API key")
        entries = found.get("results")
        results = results_of(entries) if isinstance(entries, list) else []
        if len(results) == len(window):
            if any(isinstance(one, RewardError) and one.retryable for one in results):
                self._ask_again("some conversations are to be asked again", answer)
                return
            for i, result in zip(window, results, strict=True):
                self._results[i] = result if isinstance(result, Score) else result.at(i)
            self._windows.pop()
            self._progress()
            return
        self._take_refusal(answer, report_of(found))

    def failed(self, error: Exception) -> None:
        """The last body got no answer. Raises NotReady if patience has ended.

        Refused before it is read, a large one breaks off; so it goes in halves from then on.
        """
        self._ask_again(str(error) or type(error).__name__)
        window = self._windows[-1]
        if len(window) > 1 and sum(len(self._items[i]) for i in window) > SURE_BYTES:
            self._windows[-1:] = halves(window)

    def results(self, strict: bool = False) -> list[Score | RewardError]:
        """One per conversation, in order, with the transforms. strict: raises the first error."""
        items = [self._results[i] for i in range(len(self._conversations))]
        error = next((item for item in items if isinstance(item, RewardError)), None)
        if strict and error is not None:
            raise error
        return with_transformed(self._conversations, items, self._steps)

    def _take_refusal(self, answer: Answer, report: Mapping[str, Any]) -> None:
        if "code" not in report:
            raise NotReady(f"{self._url} answered {answer.status}, not as a reward service")
        error = error_in(report)
        if isinstance(error, TooLong):
            self._take_apart(self._windows.pop(), error)
            self._progress()
        elif error.retryable:
            self._ask_again(str(error), answer)
        elif not isinstance(error, DeadlineExceeded) or self._deadline is None:
            raise error
        else:
            self._end_by_deadline()

    def _take_apart(self, window: list[int], error: TooLong) -> None:
        """The service found it too large: it is sent in halves, until one item is."""
        if len(window) > 1:
            self._windows += halves(window)
        else:
            self._results |= {i: error.at(i) for i in window}

    def _ask_again(self, why: str, answer: Answer | None = None) -> None:
        """Raises NotReady if patience ends before the pause does."""
        pause = PAUSE_S if answer is None else retry_after_s(answer)
        if self._deadline is not None:
            pause = min(pause, max(0.0, self._deadline - self._clock()))
        elif self._clock() + pause > self._patience_ends:
            waited = f"did not answer for {self._patience_s:.0f} s"
            raise NotReady(
                f"{self._url} {waited}: {why}; `reward-cluster doctor {self._url}` looks"
            )
        self.pause_s = pause

    def _progress(self) -> None:
        self.pause_s = 0.0
        self._patience_ends = self._clock() + self._patience_s

    def _end_by_deadline(self) -> None:
        late = "the deadline passed before the item was scored"
        for window in self._windows:
            self._results |= {i: DeadlineExceeded(late, i) for i in window}
        self._windows.clear()
