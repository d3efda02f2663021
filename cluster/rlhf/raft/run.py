"""A RAFT run from its configuration; see `iteration.run`. The folder: raft/, control/, raft.png."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from cluster.config import STRICT
from cluster.data.formats import Scorer
from cluster.data.rejects import Rejects
from cluster.rlhf.iteration.run import LoopRun, OnStage, Recipe, run_loop
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.raft.loop import RaftConfig, best_of_n


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftRun(LoopRun):
    """A whole run."""

    __pydantic_config__: ClassVar[Any] = STRICT

    out: str = "out/raft"
    raft: RaftConfig = field(default_factory=RaftConfig)


def train_raft(config: RaftRun, score: Scorer, on_stage: OnStage, rejects: Rejects) -> Policy:
    """Make every stage that is not there yet, and the curve; the last policy of the run proper."""
    return run_loop(config, Recipe("raft", config.raft, best_of_n), score, on_stage, rejects)
