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

WANTED_ON_GENERATED, WANTED_ON_REAL = 0.9, 0.85
OF_PRESET = {"out", "max_steps"}


@click.command(cls=SettingsCommand)
@click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--preset", type=click.Choice(["tiny"]), help="Make the built-in model.")
@click.option(
    "--texts",
    metavar="FILE|NAME",
    help="Real dialogues for --preset tiny: HH-RLHF's harmless-base/test.jsonl.gz, or the hub's "
    "copy (Anthropic/hh-rlhf:test) by default.",
)
@click.option("--strict", is_flag=True, help="Stop at the first broken row.")
@setting_options(TrainConfig)
def train(
    config: Path | None, preset: str | None, texts: str | None, strict: bool, **options: Any
) -> None:
    """Train a reward model on preference pairs, as CONFIG (YAML) and the settings say.

    `reward-cluster config train` prints every key for CONFIG; the options below override it.
    On many GPUs: `reward-cluster config fsdp > fsdp.yaml`, then `accelerate launch --config_file
    fsdp.yaml --module cluster train CONFIG`. A run that was killed resumes from its last checkpoint
    when the command is given again. Broken rows are listed and kept in rejects.jsonl.

    --preset tiny makes the model inside the package from nothing: tokenizer, pretraining,
    preferences, and its accuracy on held-out pairs, kind by kind; --texts, --out (out/tiny) and
    --max-steps work with it. The same texts and machine give the same file.

    Exit status: 0 done; 1 the preset's held-out accuracy is below 0.9 on generated chats or 0.85
    on real ones; 2 wrong usage or config.
    """
    given = given_settings(options)
    if (config is None and not given.keys() - OF_PRESET) == (preset is None):
        raise click.UsageError("give either CONFIG.yaml (or its settings) or --preset tiny")
    if texts is not None and preset is None:
        raise click.UsageError("--texts belongs to --preset tiny; a config's file is --train")
    if preset is not None:
        out = Path(given.get("out", "out/tiny"))
        sys.exit(0 if _tiny(texts, out, given.get("max_steps")) else 1)
    settings = parse_config(TrainConfig, layered(config, given))
    from cluster.rlhf.training.run import train_reward_model

    train_reward_model(settings, _printer(settings.log_every), click.echo, strict)


def _tiny(texts: str | None, out: Path, max_steps: int | None) -> bool:
    """Make `tiny` in `out`; whether it is as good as it should be."""
    from cluster.rlhf.training.metrics import accuracy, accuracy_table
    from cluster.tiny.judging import generated_and_real
    from cluster.tiny.recipe import TEXTS, Recipe, make

    recipe = Recipe.shortened(texts or TEXTS, max_steps)
    made = make(recipe, out, _printer(recipe.training.log_every), click.echo)
    generated, real = generated_and_real(made.held_out)
    for name, judged in (("generated chats", generated), ("real dialogues", real)):
        click.echo(f"\n{name}")
        for line in accuracy_table(judged):
            click.echo(line)
    return accuracy(generated) >= WANTED_ON_GENERATED and accuracy(real) >= WANTED_ON_REAL


def _printer(every: int) -> OnStep:
    def show(report: StepReport) -> None:
        if report.step % every == 0 or report.step == report.n_steps:
            click.echo(
                f"step {report.step}/{report.n_steps}  loss {report.loss:.4f}  accuracy "
                f"{report.accuracy:.3f}  margin {report.margin:.3f}  lr {report.lr:.2e}  "
                f"grad {report.grad_norm:.2f}"
            )

    return show
