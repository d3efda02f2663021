"""`reward-cluster bench dialects`: parsing and rendering of the wire dialects."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from cluster.cli.console import table_console
from cluster.data.jsonl import write_json


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def dialects(rounds: int, json_file: Path | None) -> None:
    """Measure parsing and rendering of each wire dialect, as a share of a whole request.

    Requests of 64 items of 500 tokens (of one item if the client posts samples one by one) go over
    HTTP, one at a time, through a fake GPU that sleeps as long as an 8B model would take on an
    H200.
    """
    from cluster.bench.dialects import bench_dialects
    from cluster.bench.tables import print_dialects

    result = bench_dialects(rounds, Console(stderr=True).print)
    print_dialects(result, table_console())
    if json_file:
        write_json(json_file, result)
