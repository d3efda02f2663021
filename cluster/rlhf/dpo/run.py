"""A run of iterative DPO from its configuration; see `iteration.run`.

The folder: dpo/, control/, dpo.png.
"""

from __future__ import annotations

from cluster.data.formats import Scorer
from cluster.data.rejects import Rejects
from cluster.rlhf.dpo.config import DpoRun
from cluster.rlhf.dpo.loop import preferences
from cluster.rlhf.iteration.run import OnStage, Recipe, run_loop
from cluster.rlhf.policy.model import Policy


def train_dpo(config: DpoRun, score: Scorer, on_stage: OnStage, rejects: Rejects) -> Policy:
    """Make every stage that is not there yet, and the curve; the last policy of the run proper."""
    return run_loop(config, Recipe("dpo", config.dpo, preferences), score, on_stage, rejects)
