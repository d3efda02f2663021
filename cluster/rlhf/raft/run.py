"""A RAFT run from its configuration; see `iteration.run`. The folder: raft/, control/, raft.png."""

from __future__ import annotations

from cluster.data.formats import Scorer
from cluster.data.rejects import Rejects
from cluster.rlhf.iteration.run import OnStage, Recipe, run_loop
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.raft.config import RaftRun
from cluster.rlhf.raft.loop import best_of_n


def train_raft(config: RaftRun, score: Scorer, on_stage: OnStage, rejects: Rejects) -> Policy:
    """Make every stage that is not there yet, and the curve; the last policy of the run proper."""
    return run_loop(config, Recipe("raft", config.raft, best_of_n), score, on_stage, rejects)
