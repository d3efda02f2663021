"""RMB: pairs, best-of-n sets whose winner beats every loser, four sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.evaluation import judged, shares

TURNS = [{"role": "user", "content": "Hi", "language": "English"}]


def answer(reward: float) -> dict[str, Any]:
    return {"llm_name": "m", "answer": f"{reward} x"}


def pair(chosen: float, reject: float, path: str) -> dict[str, Any]:
    sides = {"chosen": answer(chosen) | {"score": 5.0}, "reject": answer(reject)}
    return {"pair_uid": "1", "conversation_input": TURNS, "category_path": path} | sides


def best(winner: float, losers: list[float], path: str) -> dict[str, Any]:
    sides = {"bon_best": answer(winner), "loser_list": [answer(one) for one in losers]}
    return {"bon_uid": "2", "conversation_input": TURNS, "category_path": path} | sides


def test_the_score_is_the_plain_mean_of_the_four_sections(tmp_path: Path) -> None:
    rows = [
        pair(2, 1, "Pairwise_set/Helpfulness/Chat/Discussion"),
        pair(1, 1, "Pairwise_set/Helpfulness/Code/Data Management"),
        pair(2, 1, "Pairwise_set/Harmlessness/S9"),
        best(3, [1, 2], "BoN_set/Helpfulness/Chat/Discussion"),
        best(3, [1, 3], "BoN_set/Harmlessness/S9"),
        best(3, [1, 2, 4], "BoN_set/Harmlessness/multi"),
    ]
    found = judged("rmb", tmp_path, rows).report
    assert shares(found.columns) == {
        "Helpfulness BoN": 1.0,
        "Helpfulness pairwise": 0.5,
        "Harmlessness BoN": 0.0,
        "Harmlessness pairwise": 1.0,
    }
    assert found.score == (1 + 0.5 + 0 + 1) / 4
    assert found.overall == 3 / 6
    assert [line.section for line in found.lines if line.subset.endswith("multi")] == [
        "Harmlessness BoN"
    ]


def test_other_keys_of_a_turn_are_no_part_of_the_chat(tmp_path: Path) -> None:
    [one] = judged("rmb", tmp_path, [pair(2, 1, "Pairwise_set/Harmlessness/S1")]).judged
    chat = [{"role": "user", "content": "Hi"}]
    assert [c.conversation for c in one.item.candidates] == [(chat, "2 x"), (chat, "1 x")]
