"""`reward-cluster bench dialects`: parse and render of the wire dialects."""

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
    """Parse and render of each wire dialect, as a share of a whole request.

    64 items of 500 tokens (one, where a client posts samples alone) over HTTP, one request at a
    time, through a fake GPU that sleeps as long as an 8B model would take on an H200.
    """
    from cluster.bench.dialects import bench_dialects
    from cluster.bench.tables import print_dialects

    result = bench_dialects(rounds, Console(stderr=True).print)
    print_dialects(result, table_console())
    if json_file:
        write_json(json_file, result)
