from __future__ import annotations

import pytest

from cluster.serving.rate import Rate


def test_nothing_known_is_no_rate() -> None:
    rate = Rate(10.0)
    assert rate.per_s(5.0) == 0.0
    rate.add(100, 5.0)
    assert rate.per_s(5.0) == 0.0


def test_it_is_over_the_time_since_the_first_amount_and_later_over_the_window() -> None:
    rate = Rate(10.0)
    for now in range(31):
        rate.add(50, float(now))
        if now == 4:
            assert rate.per_s(5.0) == pytest.approx(50)
    assert rate.per_s(30.0) == pytest.approx(50)


def test_it_falls_to_zero_when_nothing_happens_any_more() -> None:
    rate = Rate(10.0)
    rate.add(100, 0.0)
    assert rate.per_s(9.0) > 0
    assert rate.per_s(10.0) == 0.0
