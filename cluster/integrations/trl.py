"""Reward functions for TRL: GRPOTrainer, RLOOTrainer, OnlineDPOTrainer (`reward_funcs`).

    GRPOTrainer(..., reward_funcs=reward_cluster)            # or reward_cluster_async
    GRPOTrainer(..., reward_funcs=reward_func(failed=None))  # what cannot be scored is masked

Invariant: a number that TRL gets is a reward of the model, or what the caller names for a response
that cannot be scored. None is such a name: TRL leaves the response out of this function's column,
which counts as 0 if no other function scores it. Source of the convention: `_calculate_rewards`
of trl/trainer/grpo_trainer.py and rloo_trainer.py, and `_calculate_rewards_from_functions` of
trl/experimental/online_dpo/online_dpo_trainer.py (which awaits nothing: the plain one), TRL 1.16;
both formats, conversational and standard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.data.formats import Scorer
from cluster.data.rewards import Failed, rewards_of
from cluster.integrations.chats import chat
from cluster.integrations.service import HookService, hook_service
from cluster.types import Conversation


def reward_cluster(
    prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
) -> list[float | None]:
    """The reward of each completion, by one call; a completion that cannot be scored raises."""
    return reward_func()(prompts, completions, **columns)


async def reward_cluster_async(
    prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
) -> list[float | None]:
    """As `reward_cluster`; TRL runs it beside its other asynchronous functions."""
    return await async_reward_func()(prompts, completions, **columns)


@dataclass(frozen=True)
class RewardFunc:
    """A `reward_cluster` of its own scorer. Pickles where its scorer does."""

    score: Scorer
    failed: Failed = "raise"
    __name__ = "reward_cluster"  # of its column in TRL's logs

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **_: Any
    ) -> list[float | None]:
        return rewards_of(self.score(_chats(prompts, completions)), self.failed)


@dataclass(frozen=True)
class AsyncRewardFunc:
    """A `reward_cluster_async` of its own service."""

    service: HookService
    failed: Failed = "raise"
    __name__ = "reward_cluster"

    async def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **_: Any
    ) -> list[float | None]:
        return await self.service.rewards_async(_chats(prompts, completions), self.failed)


def reward_func(score: Scorer | None = None, failed: Failed = "raise") -> RewardFunc:
    """score: of the service that is found (see `cluster.integrations.service`), unless given:
    `RewardService(app).score`, `HttpClient(url).score`, `OfflineScorer.load(config).score`.
    failed: the reward of a response that cannot be scored, for instance one that is too long."""
    return RewardFunc(hook_service().score if score is None else score, failed)


def async_reward_func(
    service: HookService | None = None, failed: Failed = "raise"
) -> AsyncRewardFunc:
    """As `reward_func`, to be awaited by GRPOTrainer and RLOOTrainer."""
    return AsyncRewardFunc(service or hook_service(), failed)


def _chats(prompts: Sequence[Any], completions: Sequence[Any]) -> list[Conversation]:
    return [chat(prompt, answer) for prompt, answer in zip(prompts, completions, strict=True)]
