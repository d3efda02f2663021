"""What a failed item's reward is, in the one place that decides it."""

from __future__ import annotations

import pytest
from support.http import made_score

from cluster.data.rewards import Failed, rewards_of
from cluster.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFinite,
    NotReady,
    RewardError,
    ScoringFailed,
    TooLong,
)
from cluster.types import Score

GOOD = made_score(1.5)


def test_rewards_come_in_order() -> None:
    assert rewards_of([GOOD, made_score(-2.0)]) == [1.5, -2.0]
    assert rewards_of([]) == []


@pytest.mark.parametrize("error", [InvalidInput, TooLong, NotFinite, ScoringFailed])
def test_an_error_of_the_chat_is_raised_or_gets_what_stands_for_it(
    error: type[RewardError],
) -> None:
    results: list[Score | RewardError] = [GOOD, error("no")]
    with pytest.raises(error, match="item 1: no"):
        rewards_of(results)
    assert rewards_of(results, failed=-5.0) == [1.5, -5.0]
    assert rewards_of(results, failed=None) == [1.5, None]


@pytest.mark.parametrize("failed", ["raise", None, 0.0])
@pytest.mark.parametrize("error", [NotReady, DeadlineExceeded, RewardError])
def test_the_services_failure_is_never_a_reward(error: type[RewardError], failed: Failed) -> None:
    with pytest.raises(error):
        rewards_of([GOOD, error("no")], failed)
