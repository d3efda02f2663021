"""JudgeBench: the published rule of both orders, and its four categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evaluation import judged, shares

from cluster.evaluation.suites.judgebench import JudgeBench


def row(a: float, b: float, label: str, source: str = "mmlu-pro-law") -> dict[str, Any]:
    return {
        "pair_id": "p",
        "source": source,
        "question": "Why?",
        "response_A": f"{a} a",
        "response_B": f"{b} b",
        "label": label,
    }


def by_the_published_rule(a: float, b: float, label: str) -> bool:
    """utils/metrics.py on the decisions of a reward model in utils/judges.py, both orders."""
    flip = {"A>B": "B>A", "B>A": "A>B"}
    decisions = ["A>B" if a > b else "B>A", flip["A>B" if b > a else "B>A"]]
    return sum(1 if d == label else -1 for d in decisions) > 0


@pytest.mark.parametrize("label", ["A>B", "B>A"])
@pytest.mark.parametrize(("a", "b"), [(2, 1), (1, 2), (1, 1)])
def test_a_pair_is_right_as_in_both_published_orders(
    tmp_path: Path, a: float, b: float, label: str
) -> None:
    found = judged("judgebench", tmp_path, [row(a, b, label)]).report
    assert found.score == float(by_the_published_rule(a, b, label))


def test_categories_are_told_by_the_start_of_the_source(tmp_path: Path) -> None:
    rows = [
        row(2, 1, "A>B"),
        row(2, 1, "B>A", "mmlu-pro-physics"),
        row(2, 1, "A>B", "livebench-reasoning"),
        row(1, 2, "A>B", "livecodebench"),
    ]
    found = judged("judgebench", tmp_path, rows).report
    assert shares(found.columns) == {
        "Knowledge": 0.5,
        "Reasoning": 1.0,
        "Math": None,
        "Coding": 0.0,
    }
    assert found.score == found.overall == 0.5
    assert {line.subset: line.section for line in found.lines}["livecodebench"] == "Coding"


def test_a_judge_that_is_wrong_in_the_published_outputs_is_wrong_here(tmp_path: Path) -> None:
    # the first published row of Skywork-Reward-Llama-3.1-8B: scores 5.625 and 14.625, label A>B,
    # decisions B>A and (the other way round) A>B
    assert judged("judgebench", tmp_path, [row(5.625, 14.625, "A>B")]).report.score == 0.0


def test_its_rows_are_its_own() -> None:
    assert JudgeBench().recognises(row(1, 2, "A>B"))
