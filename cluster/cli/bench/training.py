"""`reward-cluster bench training`: training against TRL's RewardTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
from rich.console import Console

from cluster.cli.console import table_console
from cluster.data.jsonl import write_json


@click.command()
@click.option("--preset", type=click.Choice(["cpu"]), help="Random weights of this shape.")
@click.option("--prompts", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def training(
    preset: Literal["cpu"] | None, prompts: int, rounds: int, json_file: Path | None
) -> None:
    """Measure training on preference pairs against TRL's RewardTrainer (extra: train).

    Without --preset the built-in model is trained. Prompts have 100 to 600 tokens and 4 responses
    each; one workload takes all 6 pairs of each prompt, the other one pair of each.
    """
    from cluster.bench.tables import print_training
    from cluster.bench.training import bench_training

    result = bench_training(preset, prompts, rounds, Console(stderr=True).print)
    print_training(result, table_console())
    if json_file:
        write_json(json_file, result)
