"""Every setting of PPO, with its unit.

Source of the defaults: TRL's PPOConfig (kl, clip, gamma, lam, epochs); sizes and learning rates are
for a policy as small as the generated one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from cluster.config import EngineConfig
from cluster.rlhf.limits import Count, Discount, NotNegative, Positive, Share
from cluster.rlhf.policy import Sampling

Estimator = Literal["k1", "k3"]
_FORBID = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """What is optimized."""

    __pydantic_config__: ClassVar[Any] = _FORBID

    kl: NotNegative = 0.05
    """Reward taken per nat of KL from the reference, token by token."""
    kl_target: Positive | None = None
    """Nats a response; where given, `kl` follows it (arXiv 1909.08593)."""
    kl_horizon: Count = 10_000
    """Responses over which `kl` follows its target."""
    estimator: Estimator = "k1"
    gamma: Discount = 1.0
    lam: Discount = 0.95
    """Of generalized advantages."""
    clip: Positive = 0.2
    """Of the policy's ratio."""
    value_clip: Positive = 0.2
    value_weight: NotNegative = 0.1
    reward_clip: Positive = 10.0
    """Raw rewards are cut to this size before they are shaped."""
    unfinished_penalty: NotNegative = 1.0
    """Taken from the reward of a response that was cut off."""
    whiten_rewards: bool = False
    whiten_advantages: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoConfig:
    """The loop."""

    __pydantic_config__: ClassVar[Any] = _FORBID

    steps: Count = 60
    prompts: Count = 64
    """Of a step, drawn without repetition within it."""
    chunk: Count = 8
    """Prompts a rollout task: the unit in which generation and scoring overlap."""
    workers: Count = 1
    """Ray actors that generate."""
    worker_cpus: NotNegative = 0.0
    worker_gpus: NotNegative = 0.0
    sampling: Sampling = field(default_factory=lambda: Sampling(n=2, max_new_tokens=48))
    patience_s: Positive = 600.0
    """Seconds without a reward after which the run ends; its checkpoints are kept."""
    max_failed_share: Share = 0.5
    """Of a step's responses that may end without a reward; with more the run ends."""
    futures: bool = True
    """Score each chunk as soon as it is generated; False asks once all of them are, and waits."""
    loss: LossConfig = field(default_factory=LossConfig)
    epochs: Count = 2
    """Passes over a step's responses."""
    batch: Count = 32
    """Responses an optimizer step."""
    lr: Positive = 2e-4
    value_lr: Positive = 1e-3
    max_grad_norm: Positive = 1.0
    checkpoint_every: Count | None = 10
    """Steps between checkpoints; the same command goes on from the last one."""
    keep_checkpoints: Count = 2
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoRun:
    """A whole run."""

    __pydantic_config__: ClassVar[Any] = _FORBID

    out: str = "out/ppo"
    policy: str = "generated"
    """Where to start: a causal language model with a chat template (a folder or a hub id), or
    `generated`: a tiny one, made first by fine-tuning on generated preferences, good and bad."""
    prompts: str = "generated"
    """File of rows with `prompt`, or `generated`."""
    device: str = "cpu"
    """Of the learner."""
    reward: EngineConfig = field(default_factory=EngineConfig)
    """The reward model; not used where a running service scores."""
    ppo: PpoConfig = field(default_factory=PpoConfig)
