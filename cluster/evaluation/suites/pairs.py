"""Any file of preference pairs, by a column of its own.

The score is the share of all pairs whose chosen response has the higher reward; a tie is wrong.
Rows have chosen and rejected, and prompt unless both are whole conversations; every other form of
`cluster.data.formats` with two sides goes as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.data.jsonl import Row
from cluster.evaluation.dataset import stem
from cluster.evaluation.row_fields import chosen_and_rejected, pair_item
from cluster.evaluation.suite import Suite
from cluster.evaluation.types import Item, SourcedRow


class Pairs(Suite):
    """by: the column whose values are the subsets; without it each file is one."""

    name = "pairs"
    title = "preference pairs"

    def __init__(self, by: str | None = None) -> None:
        self.by = by

    def settings(self) -> dict[str, Any]:
        return {"by": self.by}

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return "chosen" in row and "rejected" in row

    def item(self, sourced: SourcedRow, row: Row) -> Item:
        subset = stem(sourced) if self.by is None else str(row.value.get(self.by, "(none)"))
        return pair_item(sourced, row, subset, chosen_and_rejected(row.value))
