"""Rewards of results: the numbers of a call, and the only place where a failed item gets one.

    rewards_of(results)                 # the first error is raised
    rewards_of(results, failed=-5.0)    # a chat that cannot be scored gets -5
    rewards_of(results, failed=None)    # ... gets None: for trainers that mask it

Invariant: `failed` stands only for errors of the chat itself (malformed, too long, no finite
reward). The service's own failures, such as a deadline, are raised in any case: they say nothing
about the chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from cluster.errors import InvalidInput, NotFinite, RewardError, ScoringFailed
from cluster.types import Score

Failed = float | None | Literal["raise"]
"""What a chat that cannot be scored gets: a reward, or None, or its error is raised."""
OF_THE_CHAT = (InvalidInput, NotFinite, ScoringFailed)
"""Errors that the same chat would always have again."""


@overload
def rewards_of(
    results: Sequence[Score | RewardError], failed: float | Literal["raise"] = "raise"
) -> list[float]: ...


@overload
def rewards_of(results: Sequence[Score | RewardError], failed: Failed) -> list[float | None]: ...


def rewards_of(
    results: Sequence[Score | RewardError], failed: Failed = "raise"
) -> list[float] | list[float | None]:
    """The reward of each result, in order. Raises the first RewardError that `failed` does not
    replace; its `item` is the result's index."""
    rewards: list[float | None] = []
    for index, result in enumerate(results):
        if isinstance(result, Score):
            rewards.append(result.reward)
        elif failed == "raise" or not isinstance(result, OF_THE_CHAT):
            raise result.at(index)
        else:
            rewards.append(failed)
    return rewards
