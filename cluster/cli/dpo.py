"""`reward-cluster dpo`: iterative DPO from a configuration, resumable, with its random control."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.cli.loops import loop_options, run_seeds


@click.command()
@loop_options
def dpo(
    config: Path | None,
    out: Path | None,
    stages: int | None,
    seeds: tuple[int, ...],
    strict: bool,
    app: str | None,
) -> None:
    """Sample from a policy, pair by reward, train by DPO, repeat (iterative DPO, Online-RLHF).

    CONFIG is YAML. Without a config, trains a tiny policy on generated prompts. A stage is a folder
    that appears whole: a killed run resumes when the command is given again, and ends with the same
    policy. dpo.png shows the rewards beside those of a control whose preferences are drawn by a
    coin. With several seeds, each is a run in a folder of its own, and dpo.png shows all.

    Exit status: 0 done; 1 done, but some rows of prompts are broken; 2 wrong usage or config.
    """
    from cluster.rlhf.dpo.config import DpoRun
    from cluster.rlhf.dpo.run import train_dpo

    run_seeds(DpoRun, "dpo", train_dpo, config, out, stages, seeds, strict, app)
