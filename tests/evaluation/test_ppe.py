"""PPE: votes without ties, conflict pairs, and the best-of-k curve against all orders."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import Numbers, contender, judged, shares
from support.groups import write_lines

from cluster.evaluation.run import evaluate
from cluster.evaluation.suites.ppe_correctness import auc, best_of_k


def vote(one: float, two: float, winner: str, **flags: Any) -> dict[str, Any]:
    row = {"question_id": "q", "prompt": "Hi", "response_1": f"{one} long", "response_2": f"{two}"}
    return row | {"winner": winner, "language": "English"} | flags


def test_votes_for_a_tie_are_left_out_and_equal_rewards_are_wrong(tmp_path: Path) -> None:
    rows = [
        vote(2, 1, "model_a"),
        vote(2, 1, "model_b"),
        vote(1, 1, "model_a"),
        vote(2, 1, "tie"),
        vote(2, 1, "tie (bothbad)"),
    ]
    path = write_lines(tmp_path / "a.jsonl", rows)
    done = evaluate("ppe-preference", path, [contender("fake", Numbers())], resamples=10)
    assert done.models[0].report.score == pytest.approx(1 / 3)
    assert (done.n_rows, done.n_left_out, done.refused) == (5, 2, [])


def test_columns_are_the_pairs_of_a_kind(tmp_path: Path) -> None:
    rows = [
        vote(2, 1, "model_a", hard_prompt=True, is_code=True),
        vote(2, 1, "model_b", hard_prompt=True, language="Chinese"),
    ]
    found = judged("ppe-preference", tmp_path, rows).report
    assert shares(found.columns) == {
        "hard_prompt": 0.5,
        "easy_prompt": None,
        "if_prompt": None,
        "is_code": 1.0,
        "math_prompt": None,
        "shorter_won": 0.0,
        "english": 1.0,
        "non_english": 0.0,
    }


def question(rewards: list[float], truth: list[int], pairs: list[list[int]]) -> dict[str, Any]:
    named = {f"response_{i}": f"{reward} x" for i, reward in enumerate(rewards, 1)}
    row = {"question_id": 1, "prompt": "2 + 2?", "scores": truth, "sampled_conflict_pairs": pairs}
    return row | named


def test_accuracy_is_over_the_listed_pairs_by_question_then_by_benchmark(tmp_path: Path) -> None:
    # pairs (0, 1): 3 > 1 right; (2, 3): truth of 3, rewards 2 and 2, a tie: wrong
    first = question([3, 1, 2, 2], [1, 0, 0, 1], [[0, 1], [2, 3]])
    second = question([1, 5], [0, 1], [[0, 1]])
    for name, rows in (("PPE-GPQA-Best-of-K", [first, second]), ("PPE-MATH-Best-of-K", [second])):
        path = tmp_path / name / "train.jsonl"
        path.parent.mkdir()
        write_lines(path, rows)
    [model] = evaluate("auto", tmp_path, [contender("fake", Numbers())], resamples=10).models
    assert model.report.suite == "ppe-correctness"
    assert shares(model.report.columns) == {
        "MMLU Pro": None,
        "MATH": 1.0,
        "GPQA": 0.75,
        "IFEval": None,
        "MBPP Plus": None,
    }
    assert model.report.score == 0.875
    assert model.report.overall == pytest.approx((0.5 + 1 + 1) / 3)
    assert model.report.tables["best of k"]["MATH"] == {
        "auc": 1.0,
        "max": 1.0,
        "end": 1.0,
        "loss": 0.0,
    }


def test_a_question_without_a_conflict_is_not_counted(tmp_path: Path) -> None:
    rows = [question([1, 2], [1, 1], []), question([1, 2], [0, 1], [[0, 1]])]
    path = write_lines(tmp_path / "a.jsonl", rows)
    done = evaluate("ppe-correctness", path, [contender("fake", Numbers())], resamples=10)
    assert (done.n_left_out, done.models[0].report.overall) == (1, 1.0)


answers = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.sampled_from([0.0, 1.0])),
    min_size=2,
    max_size=5,
)


@given(answers)
def test_the_curve_is_the_mean_over_all_orders_the_first_maximum_taken(
    found: list[tuple[float, float]],
) -> None:
    n = len(found)
    curves = [
        [max(order[:k], key=lambda one: one[0])[1] for k in range(1, n + 1)]
        for order in permutations(found)
    ]
    rewards, truth = zip(*found, strict=True)
    np.testing.assert_allclose(best_of_k(rewards, truth), np.mean(curves, axis=0), atol=1e-12)


def test_auc_scales_each_questions_rewards_and_shares_ties(tmp_path: Path) -> None:
    # scaled: 1, 0 (wrong) and 0.5, 0.5 (wrong): right 1, 0.5 against wrong 0, 0.5
    rows = [question([9, -9], [1, 0], [[0, 1]]), question([4, 4], [1, 0], [[0, 1]])]
    model = judged("ppe-correctness", tmp_path, rows)
    assert auc(model.judged) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
