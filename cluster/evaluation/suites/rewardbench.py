"""RewardBench 1: pairs, in four sections and the prior sets.

A subset is the mean credit of its examples; a section the mean of its subsets weighted by their
published sizes (math-prm as much as the six hep subsets together); the score the mean of the
sections and, with half a weight, of the prior sets. What is missing is left out of a mean and
never counted as 0. Equal rewards are wrong (`ai2`) or half right (`rlhflow`).

Source: allenai/reward-bench, scripts/run_rm.py (a tie is wrong), rewardbench/constants.py and the
leaderboard's averages; RLHFlow/RLHF-Reward-Modeling, useful_code/eval_reward_bench_bt.py (a tie is
half right); Lambert et al. 2024 (arXiv 2403.13787). Columns: id, prompt, chosen, rejected, subset.
LLMBar's own files are read as Chat Hard's llmbar subsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, ClassVar, Literal

from cluster.data.jsonl import Row
from cluster.errors import InvalidInput
from cluster.evaluation.dataset import data_digest, read, stem
from cluster.evaluation.row_fields import chosen_and_rejected, pair_item
from cluster.evaluation.suite import Suite
from cluster.evaluation.suites.llmbar import llmbar_set
from cluster.evaluation.suites.rewardbench_subsets import (
    DROPPED_PRIOR_SETS,
    LLMBAR,
    PRIOR_SECTION,
    PRIOR_SETS,
    SECTION_OF,
    SECTION_WEIGHTS,
    SECTIONS,
    SIZES,
    SWAPPED_WEIGHTS,
    WEIGHTS,
)
from cluster.evaluation.types import Item, Judged, SourcedRow, mean

TieRule = Literal["ai2", "rlhflow"]
"""What equal rewards are worth: nothing, or half."""


class RewardBench(Suite):
    """prior: sources of prior sets, whose own column `subset` means something else: as AI2 reads
    them, the name of the split or file is the subset."""

    name = "rewardbench"
    title = "RewardBench"
    score_name = "score"
    sizes: ClassVar[Mapping[str, int]] = SIZES

    def __init__(self, tie_rule: TieRule = "ai2", prior: Sequence[str] = ()) -> None:
        self.tie_rule: TieRule = tie_rule
        self._prior = tuple(map(str, prior))

    def rows(self, data: Iterable[SourcedRow]) -> Iterable[SourcedRow]:
        return chain(data, *map(_prior_rows, self._prior))

    def settings(self) -> dict[str, Any]:
        return {"tie_rule": self.tie_rule, "prior": data_digest(self._prior)}

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return {"chosen", "rejected"} <= row.keys() and str(row.get("subset")) in SECTION_OF

    def item(self, sourced: SourcedRow, row: Row) -> Item:
        llmbar = llmbar_set(sourced.path) if "output_1" in row.value else None
        subset = row.value.get("subset") or LLMBAR.get(llmbar or "")
        pair = chosen_and_rejected(row.value)
        if not isinstance(subset, str) or not subset:
            raise InvalidInput("`subset`, the name of the example's subset, is missing")
        return pair_item(sourced, row, subset, pair)

    def credit(self, judged: Judged) -> float:
        right, wrong = judged.rewards
        if right == wrong:
            return 0.5 if self.tie_rule == "rlhflow" else 0.0
        return float(right > wrong)

    def stratum(self, item: Item) -> str | None:
        return item.subset if item.subset in SECTION_OF else None

    def section(self, subset: str) -> str | None:
        return SECTION_OF.get(subset)

    def weights(self, strata: Sequence[str]) -> Mapping[str, float]:
        """Of a subset in its section, times its section's in the score."""
        totals = dict.fromkeys(SECTION_WEIGHTS, 0.0)
        for name in strata:
            totals[SECTION_OF[name]] += _weight(name)
        return {
            name: SECTION_WEIGHTS[SECTION_OF[name]] * _weight(name) / totals[SECTION_OF[name]]
            for name in strata
        }

    def columns(
        self, judged: Sequence[Judged], strata: Mapping[str, float]
    ) -> dict[str, float | None]:
        return section_scores(strata)

    def notes(self, judged: Sequence[Judged], columns: Mapping[str, float | None]) -> list[str]:
        means = {one.name: sum(one.units.values()) / len(one.units) for one in self.strata(judged)}
        swapped = section_scores(means, SWAPPED_WEIGHTS)
        safety, score = swapped["Safety"], mean(swapped, SECTION_WEIGHTS)
        if safety is None or score is None:
            return []
        return [
            "with the xstest weights swapped, as published until September 2024: "
            f"Safety {100 * safety:.2f}, score {100 * score:.2f}"
        ]

    def _ordered(self, subsets: Iterable[str]) -> list[str]:
        """The benchmark's subsets in its order, then the prior sets, then any others."""
        found = super()._ordered(subsets)
        return sorted(found, key=lambda name: (name not in SIZES, name not in PRIOR_SETS))


def section_scores(
    scores: Mapping[str, float], weights: Mapping[str, float] = WEIGHTS
) -> dict[str, float | None]:
    """Subset scores -> section scores, Prior Sets last; None if no subset of it is there."""
    sections = {
        section: mean({name: scores.get(name) for name in subsets}, weights)
        for section, subsets in SECTIONS.items()
    }
    prior = {name: scores.get(name) for name in PRIOR_SETS}
    return sections | {PRIOR_SECTION: mean(prior, dict.fromkeys(PRIOR_SETS, 1.0))}


def _weight(subset: str) -> float:
    """Within its section; prior sets count alike."""
    return float(WEIGHTS.get(subset, 1))


def _prior_rows(source: str) -> Iterator[SourcedRow]:
    for sourced in read(source):
        subset = stem(sourced)
        if subset in DROPPED_PRIOR_SETS:
            continue
        row = sourced.row
        if isinstance(row, Row):
            row = replace(row, value=row.value | {"subset": subset})
        yield replace(sourced, row=row)
