"""PPO configuration.

Keys are those of TRL's PPOConfig and of OpenRLHF. The defaults are TRL's, except `num_ppo_epochs`
(TRL: 4), `reward_clip_range` (OpenRLHF's; TRL does not clip) and `missing_eos_penalty` (TRL: None);
sizes and learning rates are for a policy as small as the generated one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from cluster.config import TransformConfig
from cluster.rlhf.policy.config import PolicyRun, Sampling
from cluster.settings.field_types import Count, Discount, NotNegative, Positive, Share
from cluster.settings.parsing import STRICT

Estimator = Literal["k1", "k3"]
AdvantageEstimator = Literal["gae", "grpo", "rloo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """What is optimized."""

    __pydantic_config__: ClassVar[Any] = STRICT
    renamed: ClassVar[Mapping[str, str]] = {
        "kl": "kl_coef",
        "estimator": "kl_estimator",
        "clip": "cliprange",
        "value_clip": "cliprange_value",
        "value_weight": "vf_coef",
        "reward_clip": "reward_clip_range",
        "unfinished_penalty": "missing_eos_penalty",
    }

    kl_coef: NotNegative = 0.05
    """Penalty per nat of KL from the reference, token by token: subtracted from the reward (`gae`,
    `rloo`) or added to the loss (`grpo`)."""
    kl_target: Positive | None = None
    """Target KL in nats per response; if given, `kl_coef` adapts to it (arXiv 1909.08593)."""
    kl_horizon: Count = 10_000
    """Responses over which `kl_coef` adapts to the target."""
    kl_estimator: Estimator = "k1"
    """Estimator of the KL in the reward; the KL in GRPO's loss is always k3."""
    gamma: Discount = 1.0
    """Discount per token."""
    lam: Discount = 0.95
    """Lambda of the generalized advantages."""
    cliprange: Positive = 0.2
    """Clip range of the policy ratio."""
    cliprange_value: Positive = 0.2
    """Clip range of the change of the value."""
    vf_coef: NotNegative = 0.1
    """Weight of the value loss."""
    reward_clip_range: tuple[float, float] | None = (-10.0, 10.0)
    """Rewards are clipped to this range before they are shaped; null does not clip.
    `reward_clip_fraction` in the log says how many were clipped."""
    missing_eos_penalty: NotNegative | None = 1.0
    """Subtracted from the reward of a response that was cut off; null subtracts nothing."""
    whiten_rewards: bool = False
    """Divide a step's shaped rewards by their standard deviation first."""
    whiten_advantages: bool = True
    """Whiten the advantages of `gae`; `grpo` and `rloo` have the group's own baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoConfig:
    """The loop."""

    __pydantic_config__: ClassVar[Any] = STRICT
    renamed: ClassVar[Mapping[str, str]] = {"epochs": "num_ppo_epochs", "batch": "mini_batch_size"}

    steps: Count = 60
    """Steps of the run; each generates, scores and learns."""
    prompts: Count = 64
    """Prompts per step, drawn without repetition within it."""
    chunk: Count = 8
    """Prompts per rollout task: the unit in which generation and scoring overlap."""
    workers: Count = 1
    """Rollout workers: Ray actors that generate responses."""
    worker_cpus: NotNegative = 0.0
    """CPUs that Ray reserves for a rollout worker."""
    worker_gpus: NotNegative = 0.0
    """GPUs that Ray reserves for a rollout worker."""
    sampling: Sampling = field(default_factory=lambda: Sampling(n=2, max_new_tokens=48))
    """How responses are sampled."""
    patience_s: Positive = 600.0
    """Seconds without a reward after which the run ends; its checkpoints are kept."""
    max_failed_share: Share = 0.5
    """Share of a step's responses that may end without a reward; with more the run ends."""
    futures: bool = True
    """Score each chunk as soon as it is generated; False scores only once all chunks are
    generated."""
    transforms: tuple[TransformConfig, ...] = ()
    """Applied to raw rewards in this order, before `reward_clip_range`; group transforms work on
    the responses to one prompt. The log keeps the raw `reward` beside `transformed_reward`."""
    advantage_estimator: AdvantageEstimator = "gae"
    """`gae` with a critic; `grpo` (group mean and deviation, KL in the loss, arXiv 2402.03300);
    `rloo` (the mean of the others, arXiv 2402.14740). The last two need `sampling.n` of 2 or more,
    and no critic."""
    loss: LossConfig = field(default_factory=LossConfig)
    num_ppo_epochs: Count = 2
    """Passes over a step's responses."""
    mini_batch_size: Count = 32
    """Responses per optimizer step."""
    micro_train_batch_size: Count | None = None
    """Responses per forward; gradients accumulate over a mini-batch. None: the whole mini-batch at
    once."""
    bf16: bool = False
    """Run the arithmetic, the rollouts and the reference in bfloat16; the learner's own weights
    stay float32."""
    lr: Positive = 2e-4
    """Learning rate of the policy."""
    value_lr: Positive = 1e-3
    """Learning rate of the critic."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    checkpoint_every: Count | None = 10
    """Steps between checkpoints; the same command resumes from the last one."""
    keep_checkpoints: Count = 2
    """Checkpoints kept; older ones are removed."""
    seed: int = 0
    """Seed of the prompts drawn, of sampling and of the order of updates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoRun(PolicyRun):
    """A whole run."""

    __pydantic_config__: ClassVar[Any] = STRICT

    out: str = "out/ppo"
    """Folder for the policy and the run's record."""
    ppo: PpoConfig = field(default_factory=PpoConfig)
