"""Settings of iterative DPO. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from cluster.rlhf.annotation.dpo_pairs import PairMethod
from cluster.rlhf.iteration.config import LoopConfig, LoopRun
from cluster.settings.field_types import Count, NotNegative, Positive
from cluster.settings.parsing import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoLossConfig:
    """Settings of TRL's DPOConfig; a linear learning-rate schedule and a new AdamW per
    iteration."""

    __pydantic_config__: ClassVar[Any] = STRICT

    beta: Positive = 0.1
    """Strength of the pull towards the reference."""
    loss_type: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    """Loss, by TRL's name; `sigmoid` is the paper's."""
    lr: Positive = 5e-7
    """Learning rate at the start; it falls linearly to 0."""
    epochs: Count = 2
    """Passes over the pairs."""
    batch: Count = 16
    """Pairs per optimizer step."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoConfig(LoopConfig):
    """The loop of iterative DPO."""

    __pydantic_config__: ClassVar[Any] = STRICT

    method: PairMethod = "max_min"
    """How a pair is chosen; see `reward-cluster pairs`."""
    length_penalty: NotNegative = 0.0
    """Subtracted from a reward per character before pairs are chosen."""
    reference: Literal["start", "previous"] = "start"
    """Reference policy of DPO: the one the run started from, or the one before the stage."""
    dpo: DpoLossConfig = field(default_factory=lambda: DpoLossConfig(lr=3e-4))
    """Training on the pairs, by TRL's DPOTrainer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoRun(LoopRun):
    """A whole run."""

    __pydantic_config__: ClassVar[Any] = STRICT

    out: str = "out/dpo"
    """Folder for the stages and the run's record."""
    dpo: DpoConfig = field(default_factory=DpoConfig)
    """The loop of iterative DPO."""
