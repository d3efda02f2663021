"""Environment for NeMo-RL: rewards of the cluster instead of a reward model of the trainer's own.

    register_env("reward_cluster", "cluster.integrations.nemo_rl.RewardClusterEnvironment")
    ACTOR_ENVIRONMENT_REGISTRY[".. the same name .."] = PY_EXECUTABLES.SYSTEM

The `env` section of the config, under that name, may have url, app, key and failed, the reward of a
response that cannot be scored; without it the error is raised. Source of the convention:
`EnvironmentInterface` of nemo_rl/environments/interfaces.py, `create_env` of
nemo_rl/environments/utils.py, which makes the actor, and the return of `RewardModelEnvironment`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ray

from cluster.integrations.chats import whole_chat
from cluster.integrations.service import hook_service


class EnvironmentReturn(NamedTuple):
    """The fields of NeMo-RL's own, which unpacks it. N conversations.

    rewards: float32 tensor [N].  terminateds: bool tensor [N], all true.
    """

    observations: list[dict[str, str]]
    metadata: list[Any]
    next_stop_strings: list[None]
    rewards: Any
    terminateds: Any
    answers: list[str | None] | None = None


class RewardModel:
    """The environment, before it becomes an actor."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        settings = config or {}
        self._service = hook_service(*(settings.get(name) for name in ("url", "app", "key")))
        self._failed = settings.get("failed", "raise")

    def step(
        self, message_log_batch: Sequence[Sequence[Mapping[str, Any]]], metadata: Sequence[Any]
    ) -> EnvironmentReturn:
        """The reward of each whole conversation, by one call; every episode ends."""
        import torch

        n = len(message_log_batch)
        rewards = self._service.rewards(
            [whole_chat(log) for log in message_log_batch], self._failed
        )
        return EnvironmentReturn(
            [{"role": "environment", "content": f"Environment: {reward}"} for reward in rewards],
            list(metadata),
            [None] * n,
            torch.tensor(rewards, dtype=torch.float32),
            torch.ones(n, dtype=torch.bool),
            [log[-1]["content"] for log in message_log_batch],
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """The batch unchanged; mean, spread and range of its rewards, where it has them."""
        rewards = batch.get("rewards")
        if rewards is None or not len(rewards):
            return batch, {}
        found = {
            "mean": rewards.mean(),
            "std": rewards.std(correction=0),
            "min": rewards.min(),
            "max": rewards.max(),
        }
        return batch, {f"reward_cluster/{name}": float(value) for name, value in found.items()}

    def shutdown(self) -> None:
        """Nothing is the environment's own."""


RewardClusterEnvironment: Any = ray.remote(max_restarts=-1, max_task_retries=-1)(RewardModel)
"""The actor class that NeMo-RL makes by `.options(...).remote(config)`."""
