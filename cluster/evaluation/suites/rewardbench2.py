"""RewardBench 2: one right response among several, and the subset of ties.

Outside Ties an example is worth 1 / (how many responses share the highest reward) if the right one
does, else 0. Ties is scored as a whole, from pairs of prompts: `ref:N` with one right response and
`tied:N`, the same question with several. The score is the plain mean of the six subsets.

Source: allenai/reward-bench, scripts/run_v2.py and rewardbench/utils.py (process_single_model);
Malik et al. 2025 (arXiv 2506.01937). Columns: id, prompt, chosen (list), rejected (list), subset,
num_correct, total_completions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cluster.data.jsonl import Row
from cluster.errors import InvalidInput
from cluster.evaluation.row_fields import need, replies
from cluster.evaluation.suite import Suite, grouped
from cluster.evaluation.suites.rewardbench2_ties import TIES, ties_key, ties_score, ties_units
from cluster.evaluation.types import Item, Judged, SourcedRow


class RewardBench2(Suite):
    """Best of several, and calibrated ties."""

    name = "rewardbench2"
    title = "RewardBench 2"
    score_name = "score"
    sizes: ClassVar[Mapping[str, int]] = {
        "Factuality": 475,
        "Precise IF": 160,
        "Math": 183,
        "Safety": 450,
        "Focus": 495,
        TIES: 102,
    }

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return "subset" in row and all(
            isinstance(row.get(name), list) and all(isinstance(one, str) for one in row[name])
            for name in ("chosen", "rejected")
        )

    def item(self, sourced: SourcedRow, row: Row) -> Item:
        value = row.value
        sides = {name: _responses(value, name) for name in ("chosen", "rejected")}
        subset = value.get("subset")
        if not isinstance(subset, str) or not subset:
            other = "; the columns are RM-Bench's, suite `rm-bench`" if "domain" in value else ""
            raise InvalidInput(f"`subset`, the name of the example's subset, is missing{other}")
        n_right, n = len(sides["chosen"]), sum(map(len, sides.values()))
        _check(value, subset, n_right, n)
        named = {f"{name}[{i}]": r for name, side in sides.items() for i, r in enumerate(side)}
        return Item(
            sourced.source,
            row.number,
            str(value.get("id", "")),
            subset,
            replies(need(value, "prompt"), named),
            truth=(1.0,) * n_right + (0.0,) * (n - n_right),
            pairs=tuple((i, j) for i in range(n_right) for j in range(n_right, n)),
        )

    def credit(self, judged: Judged) -> float | None:
        return None if judged.item.subset == TIES else credit(judged.rewards)

    def stratum(self, item: Item) -> str | None:
        return item.subset if item.subset in self.sizes else None

    def units(self, stratum: str, judged: Sequence[Judged]) -> dict[str, float]:
        return ties_units(judged) if stratum == TIES else super().units(stratum, judged)

    def columns(
        self, judged: Sequence[Judged], strata: Mapping[str, float]
    ) -> dict[str, float | None]:
        return {name: strata.get(name) for name in self.sizes}

    def section(self, subset: str) -> str | None:
        return subset if subset in self.sizes else None

    def line_score(self, subset: str, judged: Sequence[Judged]) -> float | None:
        if subset != TIES:
            return super().line_score(subset, judged)
        found = ties_score(judged)
        return None if found is None else found.score

    def notes(self, judged: Sequence[Judged], columns: Mapping[str, float | None]) -> list[str]:
        ties = grouped(judged, lambda one: one.item.subset).get(TIES)
        found = ties_score(ties) if ties else None
        if found is None:
            return []
        shares = ("accuracy_ref", "accuracy_tied", "margin", "margin_hard")
        parts = ", ".join(f"{name} {100 * getattr(found, name):.2f}" for name in shares)
        return [f"{TIES}: {parts}, tie_break {found.tie_break:.4f}"]


def credit(rewards: Sequence[float]) -> float:
    """Of an example outside Ties; the right response comes first."""
    best = max(rewards)
    return 1 / rewards.count(best) if rewards[0] == best else 0.0


def _check(row: Mapping[str, Any], subset: str, n_right: int, n: int) -> None:
    """Raises InvalidInput where the row contradicts itself or the suite's rule."""
    for name, counted in (("num_correct", n_right), ("total_completions", n)):
        if row.get(name) not in (None, counted):
            raise InvalidInput(f"`{name}` is {row[name]!r:.40}, but there are {counted}")
    if subset == TIES:
        ties_key(str(row.get("id", "")))
    elif n_right != 1:
        raise InvalidInput(f"`chosen` has {n_right} responses; outside {TIES} there is one")


def _responses(row: Mapping[str, Any], name: str) -> list[Any]:
    responses = row.get(name)
    if isinstance(responses, str):
        raise InvalidInput(f"`{name}` is one response, as in RewardBench 1 (suite `rewardbench`)")
    if not isinstance(responses, list) or not responses:
        raise InvalidInput(f"`{name}` must be a list of at least one response")
    return responses
