"""JudgeBench: pairs of answers of one model to hard questions, of which one is objectively right.

The published rule judges each pair in both orders and counts +1 for a right and -1 for a wrong
decision; the pair is right if the sum is above 0. A reward does not depend on the order, so a pair
is right if the right answer has the higher reward; equal rewards decide for B in either order,
which sums to 0 and is not right. Columns are the four categories and the share of all pairs.

Source: ScalerLab/JudgeBench, utils/metrics.py (compute_final_metrics), utils/judges.py (the reward
models) and run_judge.py (categories by the start of `source`); Tan et al. 2024 (arXiv 2410.12784).
Columns: pair_id, source, question, response_A, response_B, label (A>B or B>A).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.data.jsonl import Row
from cluster.errors import InvalidInput
from cluster.evaluation.row_fields import need, pair_item, replies
from cluster.evaluation.suite import Suite, grouped, mean_right
from cluster.evaluation.types import Item, Judged, SourcedRow

CATEGORIES = {
    "mmlu-pro": "Knowledge",
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}
"""Start of `source` -> published column."""


class JudgeBench(Suite):
    """Objective correctness of hard answers."""

    name = "judgebench"
    title = "JudgeBench"
    score_name = "overall"

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return {"question", "response_A", "response_B", "label"} <= row.keys()

    def item(self, sourced: SourcedRow, row: Row) -> Item:
        value = row.value
        better = {"A>B": "response_A", "B>A": "response_B"}.get(str(value.get("label")))
        if better is None:
            raise InvalidInput("`label` must be A>B or B>A")
        worse = "response_B" if better == "response_A" else "response_A"
        sides = {name: need(value, name) for name in (better, worse)}
        return pair_item(
            sourced,
            row,
            str(need(value, "source")),
            replies(need(value, "question"), sides),
            id=str(value.get("pair_id", "")),
        )

    def section(self, subset: str) -> str | None:
        return next((c for start, c in CATEGORIES.items() if subset.startswith(start)), None)

    def columns(
        self, judged: Sequence[Judged], strata: Mapping[str, float]
    ) -> dict[str, float | None]:
        found = grouped(judged, lambda one: self.section(one.item.subset))
        return {
            name: sum(map(mean_right, found[name])) / len(found[name]) if name in found else None
            for name in CATEGORIES.values()
        }
