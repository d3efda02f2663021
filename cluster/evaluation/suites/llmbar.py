"""LLMBar: an instruction, an output that follows it, and one that only looks better.

A pair is right if the better output has the higher reward, a tie is wrong (the published judges
answer in both orders, and a judge that does not decide is right in neither). Columns are the five
sets and the mean of the four adversarial ones; the score is the plain mean of the five.

Source: princeton-nlp/LLMBar, Dataset/LLMBar and LLMEvaluator/evaluate.py; Zeng et al. 2023 (arXiv
2310.07641), table 2. Columns: input, output_1, output_2, label (1 or 2 names the better output).
The set of a row is its file: Natural/dataset.json, Adversarial/Neighbor/dataset.json and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cluster.data.jsonl import Row
from cluster.errors import InvalidInput
from cluster.evaluation.dataset import stem
from cluster.evaluation.row_fields import chosen_and_rejected, pair_item
from cluster.evaluation.suite import Suite
from cluster.evaluation.types import Item, Judged, SourcedRow

ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")
SETS = ("Natural", *ADVERSARIAL)


class LLMBar(Suite):
    """Instruction following."""

    name = "llmbar"
    title = "LLMBar"
    score_name = "average"
    sizes: ClassVar[Mapping[str, int]] = {
        "Natural": 100,
        "Neighbor": 134,
        "GPTInst": 92,
        "GPTOut": 47,
        "Manual": 46,
    }

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return {"input", "output_1", "output_2", "label"} <= row.keys()

    def item(self, sourced: SourcedRow, row: Row) -> Item:
        if "output_1" not in row.value:
            raise InvalidInput("a row of LLMBar has `input`, `output_1`, `output_2` and `label`")
        subset = llmbar_set(sourced.path) or stem(sourced)
        return pair_item(sourced, row, subset, chosen_and_rejected(row.value))

    def stratum(self, item: Item) -> str | None:
        return item.subset if item.subset in SETS else None

    def section(self, subset: str) -> str | None:
        return "Adversarial" if subset in ADVERSARIAL else None

    def columns(
        self, judged: Sequence[Judged], strata: Mapping[str, float]
    ) -> dict[str, float | None]:
        hard = [strata[name] for name in ADVERSARIAL if name in strata]
        sets = {name: strata.get(name) for name in SETS}
        return sets | {"adversarial average": sum(hard) / len(hard) if hard else None}


def llmbar_set(path: str) -> str | None:
    """The set that a file of LLMBar is, by its path; None for any other file."""
    place = "/".join(Path(path).absolute().parts[-2:]).lower()
    return next((name for name in (*ADVERSARIAL, "Natural") if name.lower() in place), None)
