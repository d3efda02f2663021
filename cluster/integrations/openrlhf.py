"""Reward function for OpenRLHF: in a file that `--reward.remote_url` names, as of 0.11.

    from cluster.integrations.openrlhf import reward_func      # all that my_reward.py needs

OpenRLHF sends whole texts, templated by the policy. They are scored as they are, with one BOS by
the reward model's policy, which is right if both models have the same template. If they do not,
`reward_func_of` takes a function that gives a text back as a chat.

Source of the convention: `SingleTurnAgentExecutor` of openrlhf/utils/agent.py, which calls it in a
thread with three lists of length 1 and reads `rewards`, `scores` and `extra_logs`, and
`_process_response_into_experience` of openrlhf/trainer/ppo_utils/samples_generator.py. (Before 0.11
the flag was `--remote_rm_url`.) An error leaves that sample without a reward, logged: name one with
`reward_func_of(failed=...)` if a run may meet responses that cannot be scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from cluster.integrations.service import HookService, hook_service
from cluster.types import Conversation

Parse = Callable[[str, str], Conversation]
"""The chat of a query and its prompt, both templated."""


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **kwargs: Any
) -> dict[str, Any]:
    """rewards, scores: float32 tensors [N], the raw logits of N queries."""
    return reward_func_of()(queries, prompts, labels, **kwargs)


def reward_func_of(
    service: HookService | None = None,
    failed: float | Literal["raise"] = "raise",
    parse: Parse | None = None,
) -> Callable[..., dict[str, Any]]:
    """A `reward_func` of another service, with a reward for what cannot be scored, or that reads
    its texts back as chats, which the reward model's own template then writes."""

    def reward_cluster(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any
    ) -> dict[str, Any]:
        import torch

        chats: list[Conversation] = [
            query if parse is None else parse(query, prompt)
            for query, prompt in zip(queries, prompts, strict=True)
        ]
        rewards = torch.tensor((service or hook_service()).rewards(chats, failed))
        return {"rewards": rewards, "scores": rewards, "extra_logs": {"reward_model": rewards}}

    return reward_cluster
