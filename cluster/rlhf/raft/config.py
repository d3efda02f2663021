"""Settings of RAFT. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from cluster.rlhf.iteration.config import LoopConfig, LoopRun
from cluster.rlhf.policy.config import SftConfig
from cluster.settings.field_types import Count
from cluster.settings.parsing import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig(LoopConfig):
    """The loop of RAFT."""

    __pydantic_config__: ClassVar[Any] = STRICT

    top_k: Count = 1
    """Responses per prompt to fine-tune on."""
    sft: SftConfig = field(default_factory=lambda: SftConfig(lr=3e-4, epochs=2))
    """Fine-tuning on the responses that were kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftRun(LoopRun):
    """A whole run."""

    __pydantic_config__: ClassVar[Any] = STRICT

    out: str = "out/raft"
    """Folder for the stages and the run's record."""
    raft: RaftConfig = field(default_factory=RaftConfig)
    """The loop of RAFT."""
