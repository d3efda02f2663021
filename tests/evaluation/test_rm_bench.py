"""RM-Bench by hand-computed matrices and by a slow reading of its published formula."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import judged, shares

from cluster.evaluation.suites.rm_bench import levels, matrix
from cluster.evaluation.types import Candidate, Item, Judged


def row(domain: str, chosen: Sequence[float], rejected: Sequence[float]) -> dict[str, Any]:
    return {
        "id": 1,
        "prompt": "Hi",
        "chosen": [f"{one} a" for one in chosen],
        "rejected": [f"{one} b" for one in rejected],
        "domain": domain,
    }


MIXED = ([1, 2, 3], [0.5, 2, 5])
"""Cells, right responses down: 1 0 0 / 1 0 0 / 1 1 0. Hard 0, normal 1/3, easy 1."""
ALL = ([4, 5, 6], [1, 2, 3])
NONE = ([1, 2, 3], [4, 5, 6])


def test_the_matrix_by_hand_a_tie_is_wrong(tmp_path: Path) -> None:
    found = judged("rm-bench", tmp_path, [row("chat", *MIXED)]).report
    assert shares(found.columns) == {
        "chat": round(4 / 9, 6),
        "math": None,
        "code": None,
        "safety": None,
        "hard": 0.0,
        "normal": round(1 / 3, 6),
        "easy": 1.0,
    }
    assert found.tables["right style by wrong style"] == {
        "right concise": {"wrong concise": 1.0, "wrong detailed": 0.0, "wrong markdown": 0.0},
        "right detailed": {"wrong concise": 1.0, "wrong detailed": 0.0, "wrong markdown": 0.0},
        "right markdown": {"wrong concise": 1.0, "wrong detailed": 1.0, "wrong markdown": 0.0},
    }


def test_domains_count_alike_and_both_safety_sets_are_one_domain_by_their_items(
    tmp_path: Path,
) -> None:
    rows = [row("chat", *ALL), row("safety-refuse", *ALL)]
    rows += [row("safety-response", *NONE)] * 2
    found = judged("rm-bench", tmp_path, rows).report
    assert shares(found.columns) | {"score": found.score} == {
        "chat": 1.0,
        "math": None,
        "code": None,
        "safety": round(1 / 3, 6),
        "hard": round(2 / 3, 6),
        "normal": round(2 / 3, 6),
        "easy": round(2 / 3, 6),
        "score": (1 + 1 / 3) / 2,
    }
    assert [(line.subset, line.n, line.expected) for line in found.lines] == [
        ("chat", 1, 129),
        ("safety-refuse", 1, 284),
        ("safety-response", 2, 157),
    ]
    assert not found.complete


def test_an_unknown_domain_is_shown_and_in_the_overall_accuracy_but_not_in_the_score(
    tmp_path: Path,
) -> None:
    found = judged("rm-bench", tmp_path, [row("chat", *ALL), row("poetry", *NONE)]).report
    assert found.score == 1.0
    assert found.overall == 0.5
    assert [(line.subset, line.counted) for line in found.lines] == [
        ("chat", True),
        ("poetry", False),
    ]


triples = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=3, max_size=3)


@given(st.lists(st.tuples(triples, triples), min_size=1, max_size=5))
def test_levels_are_those_of_the_published_loop(
    rewards: list[tuple[list[float], list[float]]],
) -> None:
    counts = np.zeros((3, 3))
    for chosen, rejected in rewards:
        for i in range(3):
            for j in range(3):
                counts[i][j] += chosen[i] > rejected[j]
    counts /= len(rewards)
    ones = [item(*pair) for pair in rewards]
    np.testing.assert_array_equal(matrix(ones), counts)
    expected = [np.triu(counts, 1).sum() / 3, np.trace(counts) / 3, np.tril(counts, -1).sum() / 3]
    found: dict[str, Any] = levels(ones)
    np.testing.assert_allclose([found["hard"], found["normal"], found["easy"]], expected)


def item(chosen: list[float], rejected: list[float]) -> Judged:
    candidates = tuple(Candidate(str(i), "x", "x") for i in range(6))
    pairs = tuple((i, j) for i in range(3) for j in range(3, 6))
    made = Item("s", 1, "", "chat", candidates, (1.0,) * 3 + (0.0,) * 3, pairs)
    return Judged(made, (*chosen, *rejected))
