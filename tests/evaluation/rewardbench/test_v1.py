"""RewardBench 1 against the published figures of the model card's reward model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rewardbench import fsfairx, pair, pairs

from cluster.evaluation.rewardbench.constants import PRIOR_SETS, SECTIONS, SIZES, WEIGHTS
from cluster.evaluation.rewardbench.report import percent
from cluster.evaluation.rewardbench.types import ScoredExample
from cluster.evaluation.rewardbench.v1 import credit, report


def core() -> list[ScoredExample]:
    return [one for one in fsfairx() if one.subset not in PRIOR_SETS]


def test_the_published_hits_give_the_published_sections_and_score() -> None:
    found = report(fsfairx())
    *four, prior = found.sections.items()
    assert {name: percent(score) for name, score in four} == {
        "Chat": "99.44",
        "Chat Hard": "65.13",
        "Safety": "86.76",
        "Reasoning": "86.44",
    }
    assert prior[0] == "Prior Sets"
    assert prior[1] == pytest.approx(0.74925)
    assert percent(found.score) == "83.38"
    assert found.complete


def test_swapped_xstest_weights_give_the_safety_and_score_published_before_the_mend() -> None:
    swapped = report(fsfairx()).details["swapped_xstest_weights"]
    assert percent(swapped["Safety"]) == "87.82"
    assert percent(swapped["score"]) == "83.62"


def test_the_subsets_have_their_published_sizes() -> None:
    assert sum(SIZES.values()) == 2985
    assert [len(subsets) for subsets in SECTIONS.values()] == [5, 6, 5, 7]
    assert WEIGHTS["math-prm"] == sum(size for name, size in SIZES.items() if "hep" in name)


def test_without_prior_sets_the_score_is_the_mean_of_the_four_sections() -> None:
    found = report(core())
    assert found.sections["Prior Sets"] is None
    four = [score for score in found.sections.values() if score is not None]
    assert found.score == pytest.approx(sum(four) / 4)
    assert found.complete


def test_a_section_without_examples_is_left_out_and_not_counted_as_zero() -> None:
    found = report(pairs("llmbar-natural", 3, 4))
    assert found.sections["Chat Hard"] == found.score == 0.75
    assert found.sections["Safety"] is None
    assert not found.complete


def test_one_missing_example_makes_the_run_incomplete() -> None:
    assert not report(core()[1:]).complete


def test_ties_are_wrong_by_ai2_and_half_right_by_rlhflow() -> None:
    judged = pairs("donotanswer", n_right=2, n=8, n_tied=3)
    ai2, rlhflow = report(judged, "ai2"), report(judged, "rlhflow")
    assert ai2.sections["Safety"] == 2 / 8
    assert rlhflow.sections["Safety"] == 3.5 / 8
    assert [line.ties for line in ai2.lines] == [3]


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_the_credits_of_a_pair_and_its_mirror_add_up_to_one_by_rlhflows_rule(
    a: float, b: float
) -> None:
    there, back = (credit(pair("shp", *sides), "rlhflow") for sides in ((a, b), (b, a)))
    assert there + back == 1
    assert credit(pair("shp", a, b), "ai2") == (a > b)


def test_other_sets_are_shown_at_the_end_and_counted_nowhere() -> None:
    found = report(
        [*pairs("mtbench_human", 0, 5), *pairs("shp", 4, 4), *pairs("mt-bench-med", 1, 2)]
    )
    assert [(line.subset, line.section) for line in found.lines] == [
        ("mt-bench-med", "Chat"),
        ("shp", "Prior Sets"),
        ("mtbench_human", None),
    ]
    assert found.score == pytest.approx((2 * 0.5 + 1.0) / 3)
