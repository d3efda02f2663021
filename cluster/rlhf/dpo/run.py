"""A run of iterative DPO from its configuration; see `iteration.launch`.

The folder: dpo/, control/, dpo.png.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.rlhf.dpo.config import DpoRun
from cluster.rlhf.dpo.loop import preferences
from cluster.rlhf.iteration.launch import LoopReport, launch
from cluster.rlhf.iteration.run import OnStage, Recipe


def train_dpo(
    config: DpoRun,
    *,
    app: str | None = None,
    seeds: Sequence[int] = (),
    strict: bool = False,
    on_stage: OnStage = lambda loop, stage: None,
    on_run: Callable[[LoopReport], object] = lambda report: None,
) -> list[LoopReport]:
    """Every run of `config`: each stage that is not there yet, and the curve.

    app: a running Serve application to score by, in place of an engine of `config.reward` in this
    process.  seeds: in place of `dpo.seed`; of several, each is a run in a folder `seed-N` of its
    own and dpo.png shows all.  strict: the first broken row of prompts raises InvalidInput.
    on_stage: gets the loop's name (`dpo` or `control`) and each stage; on_run: each finished run.

    Raises ConfigError for what cannot be run, and a RewardError that may pass.
    """
    return launch(
        config,
        lambda one: Recipe("dpo", one.dpo, preferences),
        app=app,
        seeds=seeds,
        strict=strict,
        on_stage=on_stage,
        on_run=on_run,
    )
