"""Settings that RAFT and iterative DPO have in common. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from cluster.config import EngineConfig, TransformConfig
from cluster.rlhf.policy.config import Sampling
from cluster.rlhf.runs.trackers import Tracker
from cluster.settings.field_types import Count
from cluster.settings.parsing import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """The loop; the sizes are for a policy as small as the generated one."""

    __pydantic_config__: ClassVar[Any] = STRICT

    stages: Count = 8
    """Stages of the run; each samples, scores and trains once."""
    prompts: Count = 96
    """Drawn for each stage, without repetition within it."""
    random: bool = False
    """The control: learn from what is drawn blindly instead."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=64))
    """How responses are drawn."""
    transforms: tuple[TransformConfig, ...] = ()
    """Applied to each prompt's raw rewards in turn before anything is chosen by them; recorded in
    samples.jsonl beside the raw ones."""
    seed: int = 0
    """Seed of the prompts drawn, of sampling and of training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRun:
    """A whole run, but for its loop."""

    __pydantic_config__: ClassVar[Any] = STRICT

    out: str = "out/loop"
    """Folder for the stages and the run's record."""
    policy: str = "generated"
    """Where to start: a causal language model with a chat template (a folder or a hub id), or
    `generated`: a tiny one, made first by fine-tuning on generated preferences, good and bad."""
    prompts: str = "generated"
    """Rows with `prompt` (a file, folder, glob, URL or hub data set), or `generated`."""
    evaluation: str | None = None
    """Prompts that are never trained on; None sets some of `prompts` apart."""
    evaluation_prompts: Count = 192
    """Prompts to evaluate on, at most."""
    control: bool = True
    """Run the random control too, from the same start."""
    device: str = "cpu"
    """Device of the policy."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers beside log.jsonl: `tensorboard`, `wandb` (offline unless WANDB_MODE says else)."""
    reward: EngineConfig = field(default_factory=EngineConfig)
    """The reward model; not used where a running service scores."""
