"""Environment for SkyRL: a single turn, rewarded by the cluster.

    skyrl_gym.register("reward_cluster", entry_point=environment(BaseTextEnv))

Source of the convention: `BaseTextEnv` of skyrl-gym/skyrl_gym/envs/base_text_env.py, made by
`skyrl_gym.make(id, env_config=..., extras=...)`, which takes only subclasses of `skyrl_gym.Env`: so
the base comes from the caller, and SkyRL is not imported here. A response that cannot be scored
raises, unless `env_config` has `failed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.integrations.chats import chat
from cluster.integrations.service import hook_service


class SingleTurn:
    """What a reward model adds to SkyRL's base class; `env_config`: url, app, key, failed."""

    def __init__(self, env_config: Any = None, extras: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        settings: Mapping[str, Any] = env_config or {}
        self._service = hook_service(*(settings.get(name) for name in ("url", "app", "key")))
        self._failed = settings.get("failed", "raise")
        self._prompt: list[Any] = []

    def init(self, prompt: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """The prompt is the data's, unchanged."""
        self._prompt = list(prompt)
        return prompt, {}

    def step(self, action: str) -> dict[str, Any]:
        """The reward of `action` as the response to the prompt; the episode is done."""
        [reward] = self._service.rewards([chat(self._prompt, action)], self._failed)
        return {
            "observations": [],
            "reward": reward,
            "done": True,
            "metadata": {},
            "postprocessed_action": action,
        }


def environment(base: type) -> type:
    """SkyRL's environment class. base: `skyrl_gym.envs.base_text_env.BaseTextEnv`."""
    return type("RewardClusterEnv", (SingleTurn, base), {"__doc__": SingleTurn.__doc__})
