"""`reward-cluster train`: Bradley-Terry training from a config, or of the built-in model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cluster.cli.yaml_config import read_settings

if TYPE_CHECKING:
    from cluster.rlhf.training.config import TrainConfig
    from cluster.rlhf.training.trainer import OnStep, StepReport

WANTED_ACCURACY = 0.9


@click.command()
@click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--preset", type=click.Choice(["tiny"]), help="Make the built-in model.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write; out/tiny for the preset, else the config's `out`.",
)
@click.option("--strict", is_flag=True, help="The first broken row ends the run.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after this many steps.")
def train(
    config: Path | None, preset: str | None, out: Path | None, strict: bool, max_steps: int | None
) -> None:
    """Train a reward model on preference pairs, as CONFIG (YAML) says.

    CONFIG's keys and their units: `TrainConfig` in cluster.rlhf.training.config. On many GPUs:
    `accelerate launch --config_file FSDP.yaml --module cluster train CONFIG`. A killed run resumes
    from its last checkpoint when the command is given again. Broken rows are reported and kept in
    rejects.jsonl.

    --preset tiny makes the model inside the package from nothing: preferences, tokenizer,
    training, and its accuracy on held-out pairs, kind by kind. The same machine gives the same
    file.

    Exit status: 0 done; 1 the preset's held-out accuracy is below 0.9; 2 wrong usage or config.
    """
    if (config is None) == (preset is None):
        raise click.UsageError("give either CONFIG.yaml or --preset tiny")
    if preset is not None:
        sys.exit(0 if _tiny(out or Path("out/tiny"), max_steps) >= WANTED_ACCURACY else 1)
    assert config is not None
    _from_config(config, out, strict, max_steps)


def _tiny(out: Path, max_steps: int | None) -> float:
    """Make `tiny` in `out`; its held-out accuracy."""
    from dataclasses import replace

    from cluster.rlhf.training.metrics import accuracy, accuracy_by_kind, best_on_top
    from cluster.tiny.recipe import Recipe, make

    recipe = Recipe()
    recipe = replace(recipe, training=replace(recipe.training, max_steps=max_steps))
    made = make(recipe, out, _printer(recipe.training.log_every), click.echo)
    click.echo(f"{'held out':<16} pairs right  best on top")
    tops = best_on_top(made.held_out)
    for kind, share in accuracy_by_kind(made.held_out).items():
        click.echo(f"{kind:<16} {share:>11.3f} {tops[kind]:>12.3f}")
    overall = accuracy(made.held_out)
    click.echo(f"{'overall':<16} {overall:>11.3f}  ({len(made.held_out)} pairs)")
    return overall


def _from_config(path: Path, out: Path | None, strict: bool, max_steps: int | None) -> None:
    from cluster.rlhf.training.run import train_reward_model

    config = _read(path, out, max_steps)
    train_reward_model(config, _printer(config.log_every), click.echo, strict)


def _read(path: Path, out: Path | None, max_steps: int | None) -> TrainConfig:
    """The YAML file as a TrainConfig, options of the command line first. Raises ConfigError."""
    from cluster.config import parse_config
    from cluster.rlhf.training.config import TrainConfig

    values = read_settings(path)
    given = {"out": str(out) if out else None, "max_steps": max_steps}
    return parse_config(TrainConfig, values | {k: v for k, v in given.items() if v is not None})


def _printer(every: int) -> OnStep:
    def show(report: StepReport) -> None:
        if report.step % every == 0 or report.step == report.n_steps:
            click.echo(
                f"step {report.step}/{report.n_steps}  loss {report.loss:.4f}  accuracy "
                f"{report.accuracy:.3f}  margin {report.margin:.3f}  lr {report.lr:.2e}  "
                f"grad {report.grad_norm:.2f}"
            )

    return show
