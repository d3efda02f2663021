"""Suite interface: how a row becomes an item, and how an item's rewards are judged.

Invariant: a suite's score is the weighted mean of its strata, each the plain mean of its units; so
the score and its bootstrap interval come from the same numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from cluster.data.jsonl import Row
from cluster.evaluation.types import (
    Item,
    Judged,
    LeftOut,
    Line,
    SourcedRow,
    Stratum,
    SuiteReport,
    Table,
    mean,
)


class Suite(ABC):
    """A benchmark. The defaults: pairs, ties wrong, one stratum, one line per subset.

    name: as the command line has it.  sizes: subset -> items in the published set.
    score_name: what the suite calls its headline.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sizes: ClassVar[Mapping[str, int]] = {}
    score_name: ClassVar[str] = "accuracy"

    @abstractmethod
    def recognises(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has this suite's columns."""

    @abstractmethod
    def item(self, sourced: SourcedRow, row: Row) -> Item | LeftOut:
        """The row as an item. Raises InvalidInput if it is not one."""

    def rows(self, data: Iterable[SourcedRow]) -> Iterable[SourcedRow]:
        """The rows to judge: those of the data, and what the suite adds to them."""
        return data

    def settings(self) -> dict[str, Any]:
        """The options that change its items or its score; JSON values."""
        return {}

    def credit(self, judged: Judged) -> float | None:
        """What an item is worth, in [0, 1]; None if it is worth nothing by itself."""
        return mean_right(judged)

    def stratum(self, item: Item) -> str | None:
        """The part of the score in which an item counts, None if it does not."""
        return "all"

    def weights(self, strata: Sequence[str]) -> Mapping[str, float]:
        """Of the strata that are there, in the score."""
        return dict.fromkeys(strata, 1.0)

    def units(self, stratum: str, judged: Sequence[Judged]) -> dict[str, float]:
        """What is averaged within a stratum, by key."""
        credits = {one.item.key: self.credit(one) for one in judged}
        return {key: credit for key, credit in credits.items() if credit is not None}

    def strata(self, judged: Iterable[Judged]) -> list[Stratum]:
        """The parts that are there, each with at least one unit."""
        members = grouped(judged, lambda one: self.stratum(one.item))
        members.pop(None, None)
        units = {name: self.units(name, ones) for name, ones in members.items() if name}
        present = {name: found for name, found in units.items() if found}
        weights = self.weights(list(present))
        return [Stratum(name, weights[name], found) for name, found in present.items()]

    def columns(
        self, judged: Sequence[Judged], strata: Mapping[str, float]
    ) -> dict[str, float | None]:
        """The published columns; strata: the mean of each that is there."""
        return dict(strata) if set(strata) != {"all"} else {}

    def section(self, subset: str) -> str | None:
        """The part of the published table in which a subset stands."""
        return None

    def line_score(self, subset: str, judged: Sequence[Judged]) -> float | None:
        """The score of one subset."""
        credits = [credit for one in judged if (credit := self.credit(one)) is not None]
        return sum(credits) / len(credits) if credits else None

    def tables(self, judged: Sequence[Judged]) -> dict[str, Table]:
        """Further tables, by title."""
        return {}

    def notes(self, judged: Sequence[Judged], columns: Mapping[str, float | None]) -> list[str]:
        """What the tables leave out, one sentence per line."""
        return []

    def report(self, judged: Sequence[Judged]) -> SuiteReport:
        """Everything of one model's run."""
        strata = self.strata(judged)
        means = {one.name: sum(one.units.values()) / len(one.units) for one in strata}
        by_subset = grouped(judged, lambda one: one.item.subset)
        columns = self.columns(judged, means)
        credits = [credit for one in judged if (credit := self.credit(one)) is not None]
        return SuiteReport(
            suite=self.name,
            title=self.title,
            score_name=self.score_name,
            score=mean(means, {one.name: one.weight for one in strata}),
            overall=sum(credits) / len(credits) if credits else None,
            columns=columns,
            lines=tuple(self._line(name, by_subset[name]) for name in self._ordered(by_subset)),
            n=len(judged),
            complete=all(len(by_subset.get(name, ())) == n for name, n in self.sizes.items()),
            tables=self.tables(judged),
            notes=tuple(self.notes(judged, columns)),
        )

    def _line(self, subset: str, judged: Sequence[Judged]) -> Line:
        return Line(
            subset,
            self.section(subset),
            len(judged),
            self.sizes.get(subset),
            self.line_score(subset, judged),
            sum(one.tied for one in judged),
            counted=any(self.stratum(one.item) is not None for one in judged),
        )

    def _ordered(self, subsets: Iterable[str]) -> list[str]:
        """The suite's own subsets in its order, then the others by name."""
        found = list(subsets)
        own = [name for name in self.sizes if name in found]
        return own + sorted(name for name in found if name not in self.sizes)


def mean_right(judged: Judged) -> float:
    """The share of the item's comparisons that the rewards get right; a tie is wrong."""
    return sum(judged.right(*pair) for pair in judged.item.pairs) / len(judged.item.pairs)


def all_right(judged: Judged) -> float:
    """1 if the rewards get every comparison right, else 0."""
    return float(all(judged.right(*pair) for pair in judged.item.pairs))


def grouped(judged: Iterable[Judged], key: Any) -> dict[Any, list[Judged]]:
    """Items by `key`, in the order in which the keys are first seen."""
    groups: defaultdict[Any, list[Judged]] = defaultdict(list)
    for one in judged:
        groups[key(one)].append(one)
    return dict(groups)
