"""`reward-cluster pairs`: from annotated rows to preference pairs for DPO."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import get_args

import click

from cluster.cli.io_options import group_arguments, rejects_path
from cluster.data.groups import read_groups
from cluster.data.jsonl import atomic_writer, to_json_line
from cluster.data.rejects import Rejects
from cluster.rlhf.annotation.dpo_pairs import (
    DropReason,
    PairMethod,
    PairRule,
    Preference,
    choose_pair,
    dpo_row,
)


@click.command()
@group_arguments
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

    Exit status: 0 done; 1 done, but some rows of IN are broken; 2 nothing written.
    """
    if seed is not None and method != "max_uniform":
        raise click.UsageError("--seed is of max_uniform only; no other method draws")
    rule = PairRule(method, length_penalty, seed or 0, min_responses)
    dropped: Counter[str] = Counter()
    n_pairs, margins = 0, 0.0
    with atomic_writer(out) as sink, Rejects(rejects_path(out, rejects), strict) as broken:
        for group in broken.keep_valid(read_groups(source)):
            pair = choose_pair(group, rule)
            if isinstance(pair, Preference):
                sink.write(to_json_line(dpo_row(pair)))
                n_pairs, margins = n_pairs + 1, margins + pair.margin
            else:
                dropped[pair] += 1
    n_rows = n_pairs + dropped.total() + broken.n
    reasons = "".join(f", {dropped[why]} {why}" for why in get_args(DropReason) if dropped[why])
    mean = f"; mean margin {margins / n_pairs:.4f}" if n_pairs else ""
    for line in broken.lines():
        click.echo(line, err=True)
    click.echo(f"{n_pairs} pairs of {n_rows} rows{reasons}, {broken.n} broken{mean}", err=True)
    sys.exit(1 if broken.n else 0)
