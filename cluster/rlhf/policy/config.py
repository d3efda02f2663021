"""Settings of a policy: how it samples, how it is fine-tuned, and its run. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from cluster.config import EngineConfig
from cluster.rlhf.runs.trackers import Tracker
from cluster.settings.field_types import Count, Positive
from cluster.settings.parsing import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How responses are sampled; top_k and top_p are off."""

    __pydantic_config__: ClassVar[Any] = STRICT

    n: Count = 8
    """Responses per prompt."""
    temperature: Positive = 1.0
    """Sampling temperature; 1 samples from the model's own distribution."""
    max_new_tokens: Count = 128
    """Maximum tokens of a response; one that has not ended by then is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """Supervised fine-tuning with a constant learning rate and a new AdamW each time."""

    __pydantic_config__: ClassVar[Any] = STRICT

    lr: Positive = 2e-5
    """Learning rate."""
    epochs: Count = 1
    """Passes over the chats."""
    batch: Count = 16
    """Chats per optimizer step."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRun:
    """A run that trains a policy on rewards, except for its algorithm."""

    __pydantic_config__: ClassVar[Any] = STRICT

    out: str = "out/policy"
    """Folder for the policy and the run's record."""
    policy: str = "generated"
    """Policy to start from: a causal language model with a chat template (a folder or a hub id), or
    `generated`: a tiny one, first fine-tuned on generated responses, good and bad."""
    prompts: str = "generated"
    """Rows with `prompt` (a file, folder, glob, URL or hub data set), or `generated`."""
    device: str = "cpu"
    """Device on which the policy is trained."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers beside log.jsonl: `tensorboard`, `wandb` (offline unless WANDB_MODE says else)."""
    reward: EngineConfig = field(default_factory=EngineConfig)
    """The reward model; not used where a running service scores."""
