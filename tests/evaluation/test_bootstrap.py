"""Bootstrap intervals: seeded, stratified, paired."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.evaluation.bootstrap import common, compare, interval, score
from cluster.evaluation.types import Stratum


def stratum(name: str, credits: list[float], weight: float = 1.0) -> Stratum:
    return Stratum(name, weight, {str(i): credit for i, credit in enumerate(credits)})


HALF = [1.0, 0.0] * 200


def test_the_interval_of_a_share_is_the_binomials() -> None:
    found = interval([stratum("all", HALF)], seed=0)
    assert found is not None
    # 0.5 -+ 1.96 sqrt(0.25 / 400)
    assert found.low == pytest.approx(0.451, abs=0.004)
    assert found.high == pytest.approx(0.549, abs=0.004)
    assert interval([stratum("all", HALF)], seed=0) == found
    assert interval([stratum("all", HALF)], seed=1) != found


def test_strata_keep_their_weights_and_are_drawn_apart() -> None:
    # a stratum without variance adds none, whatever its size
    found = interval([stratum("a", HALF), stratum("b", [1.0] * 5, weight=3.0)], seed=0)
    assert found is not None
    assert found.low == pytest.approx(0.25 * 0.451 + 0.75, abs=0.001)
    assert found.high == pytest.approx(0.25 * 0.549 + 0.75, abs=0.001)


def test_a_model_against_itself_differs_in_no_resample() -> None:
    found = compare(("a", [stratum("all", HALF)]), ("b", [stratum("all", HALF)]), seed=0)
    assert found is not None
    assert (found.difference, found.interval.low, found.interval.high) == (0.0, 0.0, 0.0)
    assert found.p_better == 0.5


def test_pairing_finds_a_small_difference_that_separate_intervals_hide() -> None:
    better = HALF[:]
    for i in range(1, 30, 2):  # 15 of 400 more, none less
        better[i] = 1.0
    a, b = [stratum("all", better)], [stratum("all", HALF)]
    found = compare(("a", a), ("b", b), seed=0)
    alone, other = interval(a, seed=0), interval(b, seed=0)
    assert found is not None
    assert alone is not None
    assert other is not None
    assert found.difference == pytest.approx(15 / 400)
    assert found.interval.low > 0.0
    assert alone.low < other.high
    assert found.p_better == 1.0


def test_only_units_that_both_have_are_compared() -> None:
    a = [Stratum("x", 1.0, {"1": 1.0, "2": 0.0}), Stratum("y", 1.0, {"3": 1.0})]
    b = [Stratum("x", 1.0, {"2": 1.0, "4": 1.0})]
    mine, others = common(a, b)
    assert mine == [Stratum("x", 1.0, {"2": 0.0})]
    assert others == [Stratum("x", 1.0, {"2": 1.0})]
    found = compare(("a", a), ("b", b), seed=0)
    assert found is not None
    assert (found.n, found.difference) == (1, -1.0)


def test_where_nothing_is_counted_there_is_no_interval() -> None:
    assert interval([], seed=0) is None
    apart = [stratum("x", [1.0])], [stratum("y", [1.0])]
    assert compare(("a", apart[0]), ("b", apart[1]), seed=0) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.1, 5))
def test_the_interval_holds_the_score_of_equal_units(credits: list[float], weight: float) -> None:
    strata = [stratum("a", [credits[0]] * len(credits), weight)]
    found = interval(strata, seed=0, resamples=20)
    assert found is not None
    np.testing.assert_allclose([found.low, found.high], score(strata), atol=1e-9)
