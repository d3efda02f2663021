"""RewardBench 2 against its rules' worked examples and a slow reading of its formula."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import Numbers, contender
from support.groups import write_lines
from support.published import pairs, prompt

from cluster.errors import InvalidInput
from cluster.evaluation.run import evaluate
from cluster.evaluation.suites.rewardbench2 import RewardBench2, credit
from cluster.evaluation.suites.rewardbench2_ties import ties_key, ties_score, ties_units
from cluster.evaluation.types import Judged

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


def sides_of(one: Judged) -> tuple[list[float], list[float]]:
    pairs = list(zip(one.item.truth, one.rewards, strict=True))
    return [r for t, r in pairs if t], [r for t, r in pairs if not t]


def by_the_formula(judged: list[Judged]) -> float:
    """The score as the paper's code computes it: arrays, NaN of 0 / 0 made 0."""
    sides = {one.item.id: sides_of(one) for one in judged}
    gaps = {id_: min(right) - max(wrong) for id_, (right, wrong) in sides.items()}
    numbers = [id_[4:] for id_ in gaps if id_.startswith("ref:") and f"tied:{id_[4:]}" in gaps]
    gap_ref = np.array([gaps[f"ref:{n}"] for n in numbers])
    gap_tied = np.array([gaps[f"tied:{n}"] for n in numbers])
    tied = [sides[f"tied:{n}"][0] for n in numbers]
    spread = np.array([max(right) - min(right) for right in tied])
    smaller = np.minimum(gap_ref, gap_tied)
    with np.errstate(all="ignore"):
        tie_break = np.nan_to_num(np.tanh(smaller / spread - 1), nan=0.0).mean()
    accuracy = [
        np.mean([gap > 0 for id_, gap in gaps.items() if id_.startswith(kind)])
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
def test_ties_follow_the_formula_and_their_units_average_to_it(
    both: list[tuple[Any, Any]], alone: list[Any]
) -> None:
    judged = [
        prompt(kind, n, *side)
        for n, pair in enumerate(both)
        for kind, side in zip(("ref", "tied"), pair, strict=True)
    ]
    judged += [prompt("tied", 100 + n, *side) for n, side in enumerate(alone)]
    found = ties_score(judged)
    assert found is not None
    assert found.score == pytest.approx(by_the_formula(judged), abs=1e-12)
    units = list(ties_units(judged).values())
    assert len(units) == len(both) + len(alone)
    assert sum(units) / len(units) == pytest.approx(found.score, abs=1e-12)


def test_ties_have_no_score_until_a_question_has_both_its_prompts() -> None:
    apart = [prompt("ref", 0, [1], [0]), prompt("tied", 1, [1, 1], [0])]
    assert ties_score(apart) is None
    assert ties_units(apart) == {}
    found = RewardBench2().report([prompt("ref", 0, [1], [0]), *pairs("Math", 1, 2)])
    assert found.columns["Ties"] is None
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
    found = RewardBench2().report(judged)
    scores = [0.25, 0.5, 1.0, 0.0, 0.75, 0.7476852]
    assert list(found.columns.values()) == pytest.approx(scores, abs=1e-6)
    assert found.score == pytest.approx(sum(scores) / 6, abs=1e-6)
    assert not found.complete
    assert found.notes[0].startswith("Ties: accuracy_ref 50.00, accuracy_tied 100.00, margin 100")


def test_the_subsets_have_their_published_sizes() -> None:
    assert sum(RewardBench2.sizes.values()) == 1865


BEST: dict[str, Any] = {
    "id": "3",
    "prompt": "Hi",
    "chosen": ["4 a"],
    "rejected": ["3", "1", "4 b"],
    "num_correct": 1,
    "total_completions": 4,
    "subset": "Focus",
}


def test_rows_are_read_in_their_published_columns(tmp_path: Path) -> None:
    ties = {"subset": "Ties", "num_correct": None, "total_completions": None}
    rows = [
        BEST,
        BEST | ties | {"id": "ref:0"},
        BEST | ties | {"id": "tied:0", "chosen": ["9", "8"]},
    ]
    path = write_lines(tmp_path / "a.jsonl", rows)
    done = evaluate("auto", path, [contender("fake", Numbers())], resamples=10)
    assert done.suite == "rewardbench2"
    found = done.models[0].report
    # tied:0 spread 1, gap 4; ref:0 gap 0
    ties_worth = 0.3 + 0.2 + 0.01 * math.tanh(-1)
    assert found.columns["Focus"] == 0.5
    assert found.columns["Ties"] == pytest.approx(ties_worth)
    assert found.score == pytest.approx((0.5 + ties_worth) / 2)


RM_BENCH = {
    "id": 1,
    "prompt": "Hi",
    "chosen": ["1", "2", "3"],
    "rejected": ["1", "2", "3"],
    "domain": "chat",
}


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (BEST | {"chosen": "4"}, r"one response, as in RewardBench 1 \(suite `rewardbench`\)"),
        (BEST | {"rejected": []}, "`rejected` must be a list of at least one"),
        (
            BEST | {"rejected": ["3", "bad", "1"], "total_completions": 4},
            r"rejected\[1\]: 9 tokens",
        ),
        (BEST | {"chosen": [5]}, r"`chosen\[0\]` must be a string, not int"),
        (BEST | {"num_correct": 2}, "`num_correct` is 2, but there are 1"),
        (BEST | {"total_completions": 5}, "`total_completions` is 5, but there are 4"),
        ({k: v for k, v in BEST.items() if k != "prompt"}, "`prompt` is missing"),
        (BEST | {"subset": "Ties"}, "`ref:N` or `tied:N`"),
        (BEST | {"chosen": ["4", "3"], "num_correct": 2, "total_completions": 5}, "there is one"),
        (RM_BENCH, "RM-Bench's, suite `rm-bench`"),
        (
            RM_BENCH | {"subset": "alpacaeval"},
            "`chosen` has 3 responses; outside Ties there is one",
        ),
    ],
)
def test_a_row_that_is_another_suites_or_contradicts_itself_is_refused(
    tmp_path: Path, bad: dict[str, Any], complaint: str
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [BEST, bad])
    done = evaluate("rewardbench2", path, [contender("fake", Numbers())], resamples=10)
    assert done.models[0].report.n == 1
    with pytest.raises(InvalidInput, match=complaint):
        raise done.refused[0].error


def test_rm_bench_never_gets_a_figure_under_rewardbench_2s_title(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [RM_BENCH] * 3)
    with pytest.raises(InvalidInput, match=r"none of the 3 rows .* suite `rm-bench`"):
        evaluate("rewardbench2", path, [contender("fake", Numbers())])
    assert evaluate("auto", path, [contender("fake", Numbers())]).suite == "rm-bench"
