from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cluster.config import MAX_PRIORITY
from cluster.errors import InvalidInput
from cluster.serving.call_options import check_call_options


@pytest.mark.parametrize("priority", [0, -MAX_PRIORITY, MAX_PRIORITY, np.int64(3)])
@pytest.mark.parametrize("deadline_s", [None, 0, -1.0, 1e9, np.float32(2.0)])
def test_whole_numbers_within_bounds_and_finite_deadlines_are_terms(
    priority: Any, deadline_s: Any
) -> None:
    check_call_options(priority, deadline_s)


@pytest.mark.parametrize(
    "priority", [10**400, 1001, -1001, "high", None, math.nan, 1.0, True, [1], 1 + 0j]
)
def test_any_other_priority_is_its_senders_mistake(priority: Any) -> None:
    with pytest.raises(InvalidInput, match=r"-1000 to 1000"):
        check_call_options(priority)


@pytest.mark.parametrize("deadline", ["5", math.nan, math.inf, -math.inf, 10**400, True, [5]])
def test_a_deadline_that_is_no_finite_number_is_its_senders_mistake(deadline: Any) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        check_call_options(0, deadline)


def test_a_callers_text_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_call_options("a long secret")
    assert "secret" not in str(refused.value)
