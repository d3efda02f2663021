"""`reward-cluster train`: Bradley-Terry training from a config, or of the built-in model."""

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
from cluster.rlhf.training.config import TrainConfig
from cluster.settings.layers import layered
from cluster.settings.parsing import parse_config

if TYPE_CHECKING:
    from cluster.rlhf.training.trainer import OnStep, StepReport

WANTED_ACCURACY = 0.9
OF_PRESET = {"out", "max_steps"}


@click.command(cls=SettingsCommand)
@click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--preset", type=click.Choice(["tiny"]), help="Make the built-in model.")
@click.option("--strict", is_flag=True, help="Stop at the first broken row.")
@setting_options(TrainConfig)
def train(config: Path | None, preset: str | None, strict: bool, **options: Any) -> None:
    """Train a reward model on preference pairs, as CONFIG (YAML) and the settings say.

    `reward-cluster config train` prints every key for CONFIG; the options below override it.
    On many GPUs: `reward-cluster config fsdp > fsdp.yaml`, then `accelerate launch --config_file
    fsdp.yaml --module cluster train CONFIG`. A run that was killed resumes from its last checkpoint
    when the command is given again. Broken rows are listed and kept in rejects.jsonl.

    --preset tiny makes the model inside the package from nothing: preferences, tokenizer,
    training, and its accuracy on held-out pairs, kind by kind; --out (out/tiny) and --max-steps
    work with it. The same machine gives the same file.

    Exit status: 0 done; 1 the preset's held-out accuracy is below 0.9; 2 wrong usage or config.
    """
    given = given_settings(options)
    if (config is None and not given.keys() - OF_PRESET) == (preset is None):
        raise click.UsageError("give either CONFIG.yaml (or its settings) or --preset tiny")
    if preset is not None:
        out = Path(given.get("out", "out/tiny"))
        sys.exit(0 if _tiny(out, given.get("max_steps")) >= WANTED_ACCURACY else 1)
    settings = parse_config(TrainConfig, layered(config, given))
    from cluster.rlhf.training.run import train_reward_model

    train_reward_model(settings, _printer(settings.log_every), click.echo, strict)


def _tiny(out: Path, max_steps: int | None) -> float:
    """Make `tiny` in `out`; its held-out accuracy."""
    from cluster.rlhf.training.metrics import accuracy, accuracy_table
    from cluster.tiny.recipe import Recipe, make

    recipe = Recipe.shortened(max_steps)
    made = make(recipe, out, _printer(recipe.training.log_every), click.echo)
    for line in accuracy_table(made.held_out):
        click.echo(line)
    return accuracy(made.held_out)


def _printer(every: int) -> OnStep:
    def show(report: StepReport) -> None:
        if report.step % every == 0 or report.step == report.n_steps:
            click.echo(
                f"step {report.step}/{report.n_steps}  loss {report.loss:.4f}  accuracy "
                f"{report.accuracy:.3f}  margin {report.margin:.3f}  lr {report.lr:.2e}  "
                f"grad {report.grad_norm:.2f}"
            )

    return show
