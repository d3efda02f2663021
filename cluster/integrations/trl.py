"""A reward function for TRL's GRPOTrainer and RLOOTrainer (`reward_funcs`).

    service = RewardService("reward")
    GRPOTrainer(..., reward_funcs=reward_func(service.score))

Invariant: a number that TRL gets is a reward of the model. TRL takes None for a reward as 0, so a
response that cannot be scored raises its error here, or gets the reward that the caller names.
Source: TRL's docs, "Using a custom reward function"; both of its formats, messages and text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cluster.data.formats import Scorer
from cluster.errors import RewardError
from cluster.types import Conversation, Message

RewardFunc = Callable[..., list[float | None]]


def reward_func(score: Scorer, failed: float | None = None) -> RewardFunc:
    """Rewards of all completions of a step, by one call of `score`.

    score: `RewardService(app).score`, or an engine's, `OfflineScorer.load(config).score`.
    failed: the reward of a response that cannot be scored, for instance one that is too long; None
    raises the RewardError. Errors that may pass, such as NotReady, are raised in any case.
    """

    def reward_cluster(
        prompts: Sequence[Any], completions: Sequence[Any], **_: Any
    ) -> list[float | None]:
        pairs = zip(prompts, completions, strict=True)
        results = score([_conversation(prompt, completion) for prompt, completion in pairs])
        rewards: list[float | None] = []
        for index, result in enumerate(results):
            if not isinstance(result, RewardError):
                rewards.append(result.reward)
            elif failed is None or result.retryable:
                raise result.at(index)
            else:
                rewards.append(failed)
        return rewards

    return reward_cluster


def _conversation(prompt: Any, completion: Any) -> Conversation:
    """The whole chat. A text stands for one message, the prompt the user's."""
    before = [Message(role="user", content=prompt)] if isinstance(prompt, str) else list(prompt)
    if isinstance(completion, str):
        return before, completion
    if len(completion) == 1 and completion[0]["role"] == "assistant":
        return before, completion[0]["content"]
    return [*before, *completion]
