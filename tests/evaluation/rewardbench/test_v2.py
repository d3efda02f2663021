"""RewardBench 2 against its rules' worked examples and a slow reading of its formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rewardbench import pairs, prompt

from cluster.errors import InvalidInput
from cluster.evaluation.rewardbench.constants import SIZES_V2
from cluster.evaluation.rewardbench.types import ScoredExample
from cluster.evaluation.rewardbench.v2 import credit, report, ties_key, ties_score

WORKED = [
    prompt("ref", 0, [2.0], [1.0]),
    prompt("tied", 0, [2.0, 1.5], [0.7, -3.0]),
    prompt("ref", 1, [0.5], [2.5, 0.0]),
    prompt("tied", 1, [3.0, 2.75, 2.875], [1.0]),
]


@pytest.mark.parametrize(
    ("rewards", "worth"),
    [
        ([3, 3, 1, 0], 0.5),
        ([2, 2, 2, 2], 0.25),
        ([3, 2, 1, 0], 1.0),
        ([2, 3, 1, 0], 0.0),
        ([1, 3, 3, 0], 0.0),
    ],
)
def test_the_right_response_shares_its_credit_with_all_that_reach_the_maximum(
    rewards: list[float], worth: float
) -> None:
    assert credit(rewards) == worth


def test_the_worked_example_of_ties() -> None:
    found = ties_score(WORKED)
    assert found is not None
    # prompt 0: spread 0.5, gaps 0.8 and 1.0; prompt 1: spread 0.25, gaps 1.75 and -2.0
    assert (found.accuracy_tied, found.accuracy_ref) == (1.0, 0.5)
    assert (found.margin, found.margin_hard) == (1.0, 0.5)
    assert found.tie_break == pytest.approx((math.tanh(0.6) + math.tanh(-9)) / 2)
    assert round(found.score, 6) == 0.747685


def by_the_formula(judged: list[ScoredExample]) -> float:
    """The score as the paper's code computes it: arrays, NaN of 0 / 0 made 0."""
    stats: dict[str, Any] = {one.id: (min(one.right) - max(one.wrong), one) for one in judged}
    numbers = [id_[4:] for id_ in stats if id_.startswith("ref:") and f"tied:{id_[4:]}" in stats]
    gap_ref = np.array([stats[f"ref:{n}"][0] for n in numbers])
    gap_tied = np.array([stats[f"tied:{n}"][0] for n in numbers])
    tied = [stats[f"tied:{n}"][1].right for n in numbers]
    spread = np.array([max(right) - min(right) for right in tied])
    smaller = np.minimum(gap_ref, gap_tied)
    with np.errstate(all="ignore"):
        tie_break = np.nan_to_num(np.tanh(smaller / spread - 1), nan=0.0).mean()
    accuracy = [
        np.mean([gap > 0 for id_, (gap, _) in stats.items() if id_.startswith(kind)])
        for kind in ("tied", "ref")
    ]
    return float(
        0.3 * accuracy[0]
        + 0.3 * accuracy[1]
        + 0.2 * np.mean(gap_tied > spread)
        + 0.2 * np.mean(smaller > spread)
        + 0.01 * tie_break
    )


few = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 3.0])
"""Few values, so that spreads and gaps of 0 are common."""
sides = st.tuples(st.lists(few, min_size=1, max_size=3), st.lists(few, min_size=1, max_size=3))


@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=4), st.lists(sides, max_size=2))
def test_ties_follow_the_formula(both: list[tuple[Any, Any]], alone: list[Any]) -> None:
    judged = [
        prompt(kind, n, *side)
        for n, pair in enumerate(both)
        for kind, side in zip(("ref", "tied"), pair, strict=True)
    ]
    judged += [prompt("tied", 100 + n, *side) for n, side in enumerate(alone)]
    found = ties_score(judged)
    assert found is not None
    assert found.score == pytest.approx(by_the_formula(judged), abs=1e-12)


def test_ties_have_no_score_until_a_question_has_both_its_prompts() -> None:
    assert ties_score([prompt("ref", 0, [1], [0]), prompt("tied", 1, [1, 1], [0])]) is None
    found = report([prompt("ref", 0, [1], [0]), *pairs("Math", 1, 2)])
    assert found.sections["Ties"] is None
    assert found.score == 0.5


def test_rows_of_one_id_are_one_prompt() -> None:
    whole = [prompt("ref", 0, [1], [0]), prompt("tied", 0, [5, 3], [1, 0])]
    parts = [whole[0], prompt("tied", 0, [5], [0]), prompt("tied", 0, [3], [1])]
    assert ties_score(parts) == ties_score(whole)


@pytest.mark.parametrize("bad", ["", "7", "tie:1", "ref:x", "ref:", "ref:1:2"])
def test_an_id_of_ties_that_names_no_prompt_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInput, match="ref:N"):
        ties_key(bad)


def test_the_score_is_the_plain_mean_of_the_six_subsets() -> None:
    judged = [*WORKED, *pairs("Factuality", 1, 4), *pairs("Precise IF", 1, 2), *pairs("Math", 1, 1)]
    judged += [*pairs("Safety", 0, 3), *pairs("Focus", 3, 4)]
    found = report(judged)
    scores = [0.25, 0.5, 1.0, 0.0, 0.75, 0.7476852]
    assert list(found.sections.values()) == pytest.approx(scores, abs=1e-6)
    assert found.score == pytest.approx(sum(scores) / 6, abs=1e-6)
    assert not found.complete


def test_the_subsets_have_their_published_sizes() -> None:
    assert sum(SIZES_V2.values()) == 1865
