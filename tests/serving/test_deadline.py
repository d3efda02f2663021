"""The two promises about clocks that differ, and what is refused."""

from __future__ import annotations

import math
import pickle
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InvalidInput
from cluster.serving.deadline import SKEW_S, Deadline, receive

seconds = st.floats(0, 1000)


@given(left_s=seconds, way_s=seconds, skew_s=st.floats(-SKEW_S, SKEW_S))
def test_while_clocks_agree_within_the_skew_a_deadline_is_never_early_and_bounded_late(
    left_s: float, way_s: float, skew_s: float
) -> None:
    """way_s: on the way. skew_s: how far the receiver's clock is ahead."""
    sent = 1e6
    granted = Deadline(sent + left_s, left_s).left(sent + way_s + skew_s)
    late_s = granted - (left_s - way_s)
    assert -1e-6 < late_s < min(way_s, 2 * SKEW_S) + 1e-6


def test_a_receiver_whose_clock_is_hours_behind_grants_no_more_than_was_left() -> None:
    assert Deadline(at=7200.0, left_s=3.0).left(wall=0.0) == 3.0


def test_a_call_that_is_run_again_does_not_get_its_time_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = Deadline.after(30.0)
    assert sent is not None
    again = pickle.loads(pickle.dumps(sent))
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall + 600)
    received = receive(again)
    assert received is not None
    assert received < time.monotonic()


def test_sending_on_keeps_the_moment() -> None:
    now = time.monotonic()
    received = receive(Deadline.of(now + 20.0))
    assert received == pytest.approx(now + 20.0, abs=5.0)
    assert receive(time.time() + 20.0) == pytest.approx(now + 20.0, abs=5.0)
    assert receive(Deadline.of(None)) is receive(Deadline.after(None)) is receive(None) is None


@pytest.mark.parametrize("bad", ["5", math.nan, math.inf, (1.0, math.nan), (1.0,), ("a", 1.0)])
def test_what_is_no_moment_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput):
        receive(bad)
