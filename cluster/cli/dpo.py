"""`reward-cluster dpo`: iterative DPO from a configuration, resumable, with its random control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cluster.cli.config_options import SettingsCommand
from cluster.cli.loops import exit_status, loop_options, parse_loop, show_run, show_stage
from cluster.rlhf.dpo.config import DpoRun


@click.command(cls=SettingsCommand)
@loop_options(DpoRun, "dpo")
def dpo(
    config: Path | None, seeds: tuple[int, ...], strict: bool, app: str | None, **options: Any
) -> None:
    """Sample from a policy, pair by reward, train by DPO, repeat (iterative DPO, Online-RLHF).

    CONFIG is YAML (`reward-cluster config dpo` prints every key); the options below override it.
    Without a config, trains a tiny policy on generated prompts. A stage is a folder, written
    atomically: a killed run resumes when the command is given again, and ends with the same policy.
    dpo.png shows the rewards next to those of a control with random preferences. With several
    seeds, each is a run in a folder of its own, and dpo.png shows all.

    Exit status: 0 done; 1 done, but some rows of prompts are broken; 2 wrong usage or config.
    """
    settings = parse_loop(DpoRun, config, options, app)
    from cluster.rlhf.dpo.run import train_dpo

    exit_status(
        train_dpo(
            settings, app=app, seeds=seeds, strict=strict, on_stage=show_stage, on_run=show_run
        )
    )
