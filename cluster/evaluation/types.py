"""Evaluation types: items, scored items, reports.

Knows nothing of models and of any one suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.data.jsonl import BrokenRow, Row
from cluster.errors import RewardError
from cluster.types import Conversation


@dataclass(frozen=True, slots=True)
class SourcedRow:
    """A row and where it stood. path: its file or hub data set, whole; source: the short name."""

    source: str
    path: str
    row: Row | BrokenRow


@dataclass(frozen=True, slots=True)
class Candidate:
    """One response of an item. field: the row's own name of it, for errors.

    text: of the response alone, for its length and format.
    """

    field: str
    conversation: Conversation
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a suite, as it is asked.

    source, number: its file or data set, and its line from 1.  id: the row's own, "" for none.
    truth: how good each candidate is, higher is better.
    pairs: the comparisons that count, (better, worse), indices of candidates.
    facts: what the suite needs to know of the row besides, JSON values.
    """

    source: str
    number: int
    id: str
    subset: str
    candidates: tuple[Candidate, ...]
    truth: tuple[float, ...]
    pairs: tuple[tuple[int, int], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the row in one run."""
        return f"{self.source}:{self.number}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that its suite does not count, such as a tie of human votes. It is no error."""

    source: str
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be judged, and why."""

    source: str
    number: int
    error: RewardError

    def __str__(self) -> str:
        return f"{self.source}, line {self.number}: {self.error} [{self.error.code}]"


@dataclass(frozen=True, slots=True)
class Judged:
    """An item and the raw reward of each of its candidates. truncated: the start of any was cut."""

    item: Item
    rewards: tuple[float, ...]
    truncated: bool = False

    def right(self, better: int, worse: int) -> bool:
        """Whether the better one has the higher reward; a tie is wrong."""
        return self.rewards[better] > self.rewards[worse]

    @property
    def tied(self) -> bool:
        """Whether the two best rewards that should differ are equal: a better one and a worse."""
        betters = [self.rewards[i] for i, _ in self.item.pairs]
        worses = [self.rewards[j] for _, j in self.item.pairs]
        return max(betters) == max(worses)


Verdict = Judged | LeftOut | Refusal
"""What became of a row."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of a suite whose mean counts in the score. units: key -> what it is worth."""

    name: str
    weight: float
    units: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One subset. score: in [0, 1], None if it cannot be computed.

    n, expected: items judged, and in the published set (None: not one of its subsets).
    counted: whether the score of the suite counts it.  ties: items whose best rewards are equal.
    """

    subset: str
    section: str | None
    n: int
    expected: int | None
    score: float | None
    ties: int
    counted: bool = True


Table = Mapping[str, Mapping[str, float | None]]
"""row -> column -> share."""


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """One model on one suite.

    columns: as the suite publishes them, None if no item is of the column.
    score: the suite's own headline, named score_name.  overall: the plain mean over all items,
        those of unknown subsets among them.
    complete: whether every item of the published set was judged.
    tables: further tables of the suite, by title.  notes: what a reader of the score must know.
    """

    suite: str
    title: str
    score_name: str
    score: float | None
    overall: float | None
    columns: Mapping[str, float | None]
    lines: tuple[Line, ...]
    n: int
    complete: bool
    tables: Mapping[str, Table] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def mean(values: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """The weighted mean of the values that are there, None if none is."""
    there = [(value, weights[name]) for name, value in values.items() if value is not None]
    total = sum(weight for _, weight in there)
    return sum(value * weight for value, weight in there) / total if total else None
