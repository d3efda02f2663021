"""The nouns of the benchmark: what is asked, what was answered, what it adds up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.data.formats import RowQuery


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the benchmark.

    source, number: its file or data set, and its line from 1.  id: the row's own, "" for none.
    ask: its conversations, the right ones first.  n_right: how many of them are right.
    row: as read, for the rejects file.
    """

    source: str
    number: int
    id: str
    subset: str
    ask: RowQuery
    n_right: int
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ScoredExample:
    """The raw rewards of one example, the right responses' apart. truncated: of any of them."""

    source: str
    number: int
    id: str
    subset: str
    right: tuple[float, ...]
    wrong: tuple[float, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One subset. score: in [0, 1] (Ties may pass it by 0.01), None where it cannot be computed.

    n, expected: examples judged, and in the published set (None: not one of its subsets).
    ties: examples whose best right and best wrong rewards are equal.
    """

    subset: str
    section: str | None
    n: int
    expected: int | None
    score: float | None
    ties: int


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """One run. sections: as the card prints them, None where no example is of the section.

    score: the weighted mean of the sections that are there; `complete` says whether every
    example of the published set is (the prior sets are apart). details: of this version only.
    """

    version: int
    tie_rule: str
    lines: tuple[Line, ...]
    sections: Mapping[str, float | None]
    score: float | None
    complete: bool
    details: Mapping[str, Any] = field(default_factory=dict)


def mean(values: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """The weighted mean of the values that are there, None where none is."""
    there = [(value, weights[name]) for name, value in values.items() if value is not None]
    total = sum(weight for _, weight in there)
    return sum(value * weight for value, weight in there) / total if total else None


def tied(judged: ScoredExample) -> bool:
    """Whether the best right and the best wrong reward are equal."""
    return max(judged.right) == max(judged.wrong)
