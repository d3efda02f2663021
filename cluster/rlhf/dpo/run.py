"""A run of iterative DPO from its configuration; see `iteration.launch`.

The folder: dpo/, control/, dpo.png.
"""

from __future__ import annotations

from typing import Unpack

from cluster.rlhf.dpo.config import DpoRun
from cluster.rlhf.dpo.loop import preferences
from cluster.rlhf.iteration.launch import LoopOptions, LoopReport, launch
from cluster.rlhf.iteration.run import Recipe


def train_dpo(config: DpoRun, **options: Unpack[LoopOptions]) -> list[LoopReport]:
    """Every run of `config`: each stage that is not there yet, and the curve.

    options: `app`, `seeds`, `strict`, `on_stage`, `on_run`, see `iteration.launch.LoopOptions`.
    Raises ConfigError for what cannot be run, and a RewardError that may pass.
    """
    return launch(config, lambda one: Recipe("dpo", one.dpo, preferences), **options)
