"""Settings that RAFT and iterative DPO share. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from cluster.config import TransformConfig
from cluster.rlhf.policy.config import PolicyRun, Sampling
from cluster.settings.field_types import Count
from cluster.settings.parsing import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """The loop; its sizes suit a policy as small as the generated one."""

    __pydantic_config__: ClassVar[Any] = STRICT

    stages: Count = 8
    """Stages of the run; each one samples, scores and trains once."""
    prompts: Count = 96
    """Prompts per stage, drawn without repetition within it."""
    random: bool = False
    """The random control: learn from responses that are chosen blindly instead."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=64))
    """How responses are sampled."""
    transforms: tuple[TransformConfig, ...] = ()
    """Applied in this order to each prompt's raw rewards before anything is chosen by them;
    recorded in samples.jsonl next to the raw ones."""
    seed: int = 0
    """Seed of the prompts drawn, of sampling and of training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRun(PolicyRun):
    """A whole run, except for its loop."""

    __pydantic_config__: ClassVar[Any] = STRICT

    out: str = "out/loop"
    """Folder for the stages and the run's record."""
    evaluation: str | None = None
    """Held-out prompts, never trained on; None holds out some of `prompts`."""
    evaluation_prompts: Count = 192
    """Maximum number of prompts to evaluate on."""
    control: bool = True
    """Also run the random control, from the same policy."""
