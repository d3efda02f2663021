"""A RAFT run from its configuration; see `iteration.launch`.

The folder: raft/, control/, raft.png.
"""

from __future__ import annotations

from typing import Unpack

from cluster.rlhf.iteration.launch import LoopOptions, LoopReport, launch
from cluster.rlhf.iteration.run import Recipe
from cluster.rlhf.raft.config import RaftRun
from cluster.rlhf.raft.loop import best_of_n


def train_raft(config: RaftRun, **options: Unpack[LoopOptions]) -> list[LoopReport]:
    """Every run of `config`: each stage that is not there yet, and the curve.

    options: `app`, `seeds`, `strict`, `on_stage`, `on_run`, see `iteration.launch.LoopOptions`.
    Raises ConfigError for what cannot be run, and a RewardError that may pass.
    """
    return launch(config, lambda one: Recipe("raft", one.raft, best_of_n), **options)
