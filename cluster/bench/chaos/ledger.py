"""Chaos ledger: what was submitted, what was answered, and which invariants were violated.

Invariants: every submitted item is answered exactly once; every reward equals, bit for bit, the one
that the engine computes offline with the revision that the answer names; between two rolls only the
current revision answers. Knows nothing of Ray. Thread-safe, with one lock for all callers.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cluster.errors import RewardError
from cluster.types import Score

Truth = Mapping[str, Sequence[float]]
"""Revision -> rewards of the conversations, by their number."""
MAX_TOLD = 20
"""Violations whose messages are kept; the others are only counted."""


class Serving(NamedTuple):
    """What all replicas of an app serve between two rolls.  epoch: number of the last roll."""

    epoch: int
    revision: str


@dataclass(frozen=True, slots=True)
class Ask:
    """One call.

    items: numbers of its conversations.  serving: when it was made, None during a roll.  must_fail:
    indices of the items whose answer must be an error.
    """

    kind: str
    app: str
    items: Sequence[int]
    serving: Serving | None = None
    must_fail: Collection[int] = ()


@dataclass
class LedgerRow:
    """Counts of one kind of call.  asked, answered: items.  errors: answers by error code."""

    calls: int = 0
    asked: int = 0
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Ledger:
    """Records calls and checks their answers.  truth: the right rewards, by app."""

    def __init__(self, truth: Mapping[str, Truth]) -> None:
        self.rows: dict[str, LedgerRow] = {}
        self.violations: list[str] = []
        self.n_violations = 0
        self._truth = truth
        self._open: dict[int, Ask] = {}
        self._lock = threading.Lock()

    def asked(self, ask: Ask) -> None:
        """Record a call. To be called before the call is made."""
        with self._lock:
            row = self.rows.setdefault(f"{ask.app}: {ask.kind}", LedgerRow())
            row.calls += 1
            row.asked += len(ask.items)
            self._open[id(ask)] = ask

    def answered(self, ask: Ask, answers: Sequence[Any], serving: Serving | None) -> None:
        """Check all answers of a call, in order.  serving: when the call ended."""
        with self._lock:
            self._open.pop(id(ask), None)
            if len(answers) != len(ask.items):
                self._violate(ask, f"{len(ask.items)} items asked, {len(answers)} answered")
                return
            only = serving.revision if serving is not None and serving == ask.serving else None
            for i, answer in enumerate(answers):
                self._check(ask, i, answer, only)

    def abandoned(self, ask: Ask, answers: Mapping[int, Any]) -> None:
        """Check what a caller got before it left early; it is owed nothing more."""
        with self._lock:
            self._open.pop(id(ask), None)
            self.rows[f"{ask.app}: {ask.kind}"].asked -= len(ask.items) - len(answers)
            for i, answer in answers.items():
                self._check(ask, i, answer, None)

    def broke(self, ask: Ask, error: BaseException) -> None:
        """Record that a call ended with an exception instead of answers."""
        with self._lock:
            self._open.pop(id(ask), None)
            self._violate(ask, f"the whole call failed: {type(error).__name__}: {error}")

    def violate(self, message: str) -> None:
        """Record any other violation."""
        with self._lock:
            self._told(message)

    def close(self) -> None:
        """Record every call that is still open as never answered."""
        with self._lock:
            for ask in self._open.values():
                self._violate(ask, f"{len(ask.items)} items are never answered")
            self._open.clear()

    def _check(self, ask: Ask, i: int, answer: Any, only: str | None) -> None:
        row = self.rows[f"{ask.app}: {ask.kind}"]
        row.answered += 1
        if isinstance(answer, RewardError):
            row.errors[answer.code] += 1
            if i not in ask.must_fail:
                self._violate(ask, f"item {i} failed: {answer}")
            return
        if i in ask.must_fail or not isinstance(answer, Score):
            self._violate(ask, f"item {i} must be an error and is {answer!r}")
            return
        known = self._truth[ask.app].get(answer.revision)
        if known is None or (only is not None and answer.revision != only):
            self._violate(ask, f"wrong revision {answer.revision}, {only or 'none such'} serves")
        elif answer.reward != known[ask.items[i]]:
            right = known[ask.items[i]]
            self._violate(ask, f"wrong reward {answer.reward!r}, the engine says {right!r}")

    def _violate(self, ask: Ask, message: str) -> None:
        self._told(f"{ask.app}: {ask.kind}: {message}")

    def _told(self, message: str) -> None:
        self.n_violations += 1
        if len(self.violations) < MAX_TOLD:
            self.violations.append(message)
