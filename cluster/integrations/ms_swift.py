"""Reward functions for ms-swift's GRPO: entries of `swift.rewards.orms`.

    orms["reward_cluster"] = RewardCluster    # in the file that --external_plugins names
    swift rlhf --rlhf_type grpo --external_plugins plugin.py --reward_funcs reward_cluster ...

Source of the convention: `ORM` and `AsyncORM` of swift/rewards/orm.py; `_prepare_rewards` of
swift/rlhf_trainers/grpo_trainer.py, which makes them with `args`; `compute_rewards_per_func` of
swift/rl_core/grpo_algorithm.py, which calls `reward_func(completions, **columns)` (ms-swift 4.6).
The column `messages` has each whole chat, its last message the completion. None is a response
without a reward of this function, as in TRL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.data.rewards import Failed
from cluster.errors import InvalidInput
from cluster.integrations.chats import whole_chat
from cluster.integrations.service import hook_service
from cluster.types import Conversation


class RewardCluster:
    """failed: a class attribute, for a subclass to change: the reward of what cannot be scored."""

    failed: Failed = "raise"

    def __init__(self, args: Any = None, **kwargs: Any) -> None:
        """args: swift's, of which none is needed."""

    def __call__(
        self, completions: Sequence[str], messages: Any = None, **_: Any
    ) -> list[float | None]:
        return hook_service().rewards(_chats(completions, messages), self.failed)


class AsyncRewardCluster(RewardCluster):
    """The same, awaited by swift beside its other asynchronous functions."""

    async def __call__(  # type: ignore[override]
        self, completions: Sequence[str], messages: Any = None, **_: Any
    ) -> list[float | None]:
        return await hook_service().rewards_async(_chats(completions, messages), self.failed)


def _chats(completions: Sequence[str], messages: Any) -> list[Conversation]:
    if messages is None or len(messages) != len(completions):
        raise InvalidInput("ms-swift gave no `messages` for each completion: what is the prompt?")
    return [whole_chat(chat) for chat in messages]
