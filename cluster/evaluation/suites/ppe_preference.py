"""PPE human preference: votes of Chatbot Arena, two answers and the one that a person preferred.

Votes for a tie are left out; the score is the share of the other pairs whose preferred answer has
the higher reward, equal rewards wrong. Columns are the same share over the pairs of a kind: by the
row's own flags, by language, and where the shorter answer won.

Source: lmarena/PPE (data lmarena-ai/PPE-Human-Preference-V1); Frick et al. 2024 (arXiv 2410.14872).
Columns: question_id, prompt, response_1, response_2, winner, language, hard_prompt, easy_prompt,
if_prompt, is_code, math_prompt. The benchmark's rankings of the twenty answering models (Spearman,
Kendall, row-wise Pearson, confidence agreement, separability, Brier) are not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.data.jsonl import Row
from cluster.errors import InvalidInput
from cluster.evaluation.row_fields import need, pair_item, replies
from cluster.evaluation.suite import Suite, mean_right
from cluster.evaluation.types import Item, Judged, LeftOut, SourcedRow

FLAGS = ("hard_prompt", "easy_prompt", "if_prompt", "is_code", "math_prompt")
_SHORTER = "shorter_won"


class PPEPreference(Suite):
    """Agreement with people's votes."""

    name = "ppe-preference"
    title = "PPE human preference"

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return {"prompt", "response_1", "response_2", "winner"} <= row.keys()

    def item(self, sourced: SourcedRow, row: Row) -> Item | LeftOut:
        value = row.value
        winner = str(need(value, "winner"))
        if winner.startswith("tie"):
            return LeftOut(sourced.source, row.number, f"the vote is a {winner}")
        names = {"model_a": ("response_1", "response_2"), "model_b": ("response_2", "response_1")}
        if winner not in names:
            raise InvalidInput("`winner` must be model_a, model_b, tie or tie (bothbad)")
        sides = {name: need(value, name) for name in names[winner]}
        pair = replies(need(value, "prompt"), sides)
        kinds = [flag for flag in FLAGS if value.get(flag)]
        if len(pair[0].text) < len(pair[1].text):
            kinds.append(_SHORTER)
        language = str(value.get("language") or "unknown")
        id_ = str(value.get("question_id", ""))
        return pair_item(sourced, row, language, pair, {"kinds": kinds}, id_)

    def columns(
        self, judged: Sequence[Judged], strata: Mapping[str, float]
    ) -> dict[str, float | None]:
        kinds = {flag: [one for one in judged if flag in one.item.facts["kinds"]] for flag in FLAGS}
        kinds[_SHORTER] = [one for one in judged if _SHORTER in one.item.facts["kinds"]]
        kinds["english"] = [one for one in judged if one.item.subset == "English"]
        kinds["non_english"] = [one for one in judged if one.item.subset != "English"]
        return {name: _accuracy(ones) for name, ones in kinds.items()}


def _accuracy(judged: Sequence[Judged]) -> float | None:
    return sum(map(mean_right, judged)) / len(judged) if judged else None
