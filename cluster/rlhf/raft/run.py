"""A RAFT run from its configuration; see `iteration.launch`.

The folder: raft/, control/, raft.png.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.rlhf.iteration.launch import LoopReport, launch
from cluster.rlhf.iteration.run import OnStage, Recipe
from cluster.rlhf.raft.config import RaftRun
from cluster.rlhf.raft.loop import best_of_n


def train_raft(
    config: RaftRun,
    *,
    app: str | None = None,
    seeds: Sequence[int] = (),
    strict: bool = False,
    on_stage: OnStage = lambda loop, stage: None,
    on_run: Callable[[LoopReport], object] = lambda report: None,
) -> list[LoopReport]:
    """Every run of `config`: each stage that is not there yet, and the curve.

    app: a running Serve application to score by, in place of an engine of `config.reward` in this
    process.  seeds: in place of `raft.seed`; of several, each is a run in a folder `seed-N` of its
    own and raft.png shows all.  strict: the first broken row of prompts raises InvalidInput.
    on_stage: gets the loop's name (`raft` or `control`) and each stage; on_run: each finished run.

    Raises ConfigError for what cannot be run, and a RewardError that may pass.
    """
    return launch(
        config,
        lambda one: Recipe("raft", one.raft, best_of_n),
        app=app,
        seeds=seeds,
        strict=strict,
        on_stage=on_stage,
        on_run=on_run,
    )
