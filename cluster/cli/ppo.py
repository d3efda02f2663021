"""`reward-cluster ppo`: PPO on Ray from a configuration, resumable, over one or more seeds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.cli.config_options import (
    SettingsCommand,
    given_settings,
    setting_options,
)
from cluster.cli.scoring_backend import refuse_beside_service
from cluster.rlhf.ppo.config import PpoRun
from cluster.settings.layers import layered
from cluster.settings.parsing import parse_config

if TYPE_CHECKING:
    from cluster.rlhf.ppo.launch import PpoReport
    from cluster.rlhf.ppo.step_metrics import StepRow


@click.command(cls=SettingsCommand)
@click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--seed", "seeds", type=int, multiple=True, help="Instead of `ppo.seed`; may be repeated."
)
@click.option("--strict", is_flag=True, help="Stop at the first broken row.")
@click.option("--app", help="Score by this running Serve application instead of an own one.")
@setting_options(PpoRun, short={"ppo.steps": "--steps", "ppo.futures": "--futures/--blocking"})
def ppo(
    config: Path | None, seeds: tuple[int, ...], strict: bool, app: str | None, **options: Any
) -> None:
    """Train a policy by PPO on rewards of the cluster, through the actor client.

    CONFIG is YAML (`reward-cluster config ppo` prints every key); the options below override it.
    Without a config, trains a tiny policy on generated prompts. Rollout workers are Ray actors;
    each chunk of responses is scored through `client.score.remote` while the next one is generated.
    A killed run resumes from its last checkpoint when the command is given again. With several
    seeds, each is a run in a folder of its own, and ppo.png shows all.

    Exit status: 0 done; 1 done, but some rows of prompts are broken; 2 wrong usage or config.
    """
    given = layered(config, given_settings(options))
    if "reward" in given:
        refuse_beside_service(app, ["reward (of the config)"])
    settings = parse_config(PpoRun, given)
    from cluster.rlhf.ppo.launch import train_ppo

    reports = train_ppo(
        settings,
        app=app,
        seeds=seeds,
        strict=strict,
        on_step=_show,
        on_run=_show_run,
        say=click.echo,
    )
    sys.exit(1 if any(report.n_broken for report in reports) else 0)


def _show_run(report: PpoReport) -> None:
    for line in report.broken:
        click.echo(line, err=True)
    how = "with futures" if report.futures else "blocking"
    click.echo(f"{how}: {100 * report.waiting_share:.1f}% of the time waiting for rewards")
    click.echo(f"the policy is {report.folder}/policy", err=True)


def _show(row: StepRow) -> None:
    click.echo(
        f"step {row.step}  reward {row.reward:.3f} +- {row.reward_std:.3f}  kl {row.kl:.2f}  "
        f"clip_fraction {row.clip_fraction:.3f}  explained_variance "
        f"{row.explained_variance:.2f}  cut off {row.unfinished}  "
        f"failed {row.failed}  {row.step_s:.1f} s: generating {row.generating_s:.1f}, "
        f"waiting {row.waiting_s:.2f}, learning {row.learning_s:.1f}"
    )
