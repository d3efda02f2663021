"""`reward-cluster pairs`: from annotated rows to preference pairs for DPO."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import click

from cluster.cli.io_options import file_arguments, rejects_path
from cluster.data.rejects import Rejects
from cluster.rlhf.annotation.dpo_pairs import PairMethod, PairRule
from cluster.rlhf.annotation.group_files import dpo_pairs_file


@click.command()
@file_arguments("broken row", "broken rows")
@click.option(
    "--method",
    type=click.Choice(get_args(PairMethod)),
    default="max_min",
    show_default=True,
    help="See above.",
)
@click.option(
    "--length-penalty",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Subtracted from a reward per character, before choosing and in the margin.",
)
@click.option("--seed", type=int, help="Seed of max_uniform. [0]")
@click.option(
    "--min-responses",
    type=click.IntRange(min=2),
    default=2,
    show_default=True,
    help="Drop rows with fewer responses.",
)
def pairs(
    source: str,
    out: Path,
    rejects: Path | None,
    strict: bool,
    method: PairMethod,
    length_penalty: float,
    seed: int | None,
    min_responses: int,
) -> None:
    """Make one preference pair from every annotated row, ready for TRL's DPOTrainer.

    IN has rows {"prompt": ..., "responses": [...], "rewards": [...]}; OUT has prompt, chosen and
    rejected as messages, and margin: chosen's reward less rejected's, always above 0.

    \b
      max_min      best and worst
      max_random   best and the first other (RLHFlow's; nothing is drawn)
      max_uniform  best and one of the others at random
      max_max      best and second best
      random       the first two

    Equal rewards go to the first response. A row whose pair ties, or that has too few responses,
    is dropped and counted.

    Exit status: 0 done; 1 done, but some rows of IN are broken; 2 no pair, nothing written.
    """
    if seed is not None and method != "max_uniform":
        raise click.UsageError("--seed applies only to --method max_uniform")
    rule = PairRule(method, length_penalty, seed or 0, min_responses)
    broken = Rejects(rejects_path(out, rejects), strict)
    report = dpo_pairs_file(source, out, rule, broken)
    for line in (*broken.lines(), report.line()):
        click.echo(line, err=True)
    sys.exit(1 if report.n_broken else 0)
