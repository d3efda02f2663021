"""Reward functions for verifiers (and prime-rl): of a trace, and before 0.4 of a rubric.

    [env.taskset.task.rewards]                                     # TOML
    cluster = { fn = "cluster.integrations.verifiers:trace_reward" }

    rubric = vf.Rubric(funcs=[reward_func(failed=-10.0)])          # before 0.4
    rubric = vf.Rubric(funcs=[group_reward_func(failed=-10.0)])    # one call a group

A rubric takes an exception of a reward function for a reward of 0 (`_call_individual_reward_func`
of verifiers/rubrics/rubric.py), which no reward model means. So `failed`, the reward of a response
that cannot be scored, has to be named there, and a service that does not answer is waited for ten
minutes. A trace has no reward where its function raises (`Task.score` of verifiers/v1/task.py,
`Trace.rewards` of verifiers/v1/trace.py), so `trace_reward` does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from cluster.integrations.chats import chat, whole_chat
from cluster.integrations.service import HookService, hook_service


def reward_func(
    failed: float, service: HookService | None = None
) -> Callable[..., Coroutine[Any, Any, float]]:
    """A function of one rollout: its whole completion, tool calls' messages included."""

    async def reward_cluster(prompt: Any, completion: Any, **_: Any) -> float:
        asked = service or hook_service()
        [reward] = await asked.rewards_async([chat(prompt, completion)], failed)
        assert reward is not None
        return reward

    return reward_cluster


def group_reward_func(
    failed: float, service: HookService | None = None
) -> Callable[..., Coroutine[Any, Any, list[float | None]]]:
    """A function of all rollouts of a prompt, which verifiers knows by its plural names."""

    async def reward_cluster(
        prompts: Sequence[Any], completions: Sequence[Any], **_: Any
    ) -> list[float | None]:
        pairs = zip(prompts, completions, strict=True)
        chats = [chat(prompt, completion) for prompt, completion in pairs]
        return await (service or hook_service()).rewards_async(chats, failed)

    return reward_cluster


async def trace_reward(trace: Any) -> float:
    """The reward of a trace: of the whole chat of its final branch."""
    [reward] = await hook_service().rewards_async([whole_chat(trace.messages)])
    assert reward is not None
    return reward
