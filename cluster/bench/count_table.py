"""Terminal table of `reward-cluster bench engine --count`."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.console import Console
from rich.table import Table


def print_count(result: dict[str, Any], console: Console) -> None:
    """One table per batch shape, with one row per numerics."""
    peaks = result["peaks"]
    console.print(
        f"{result['preset']} on {result['device']}, counted: {peaks['matmul_flops'] / 1e12:,.0f} "
        f"TFLOP/s matmul, {peaks['attention_flops'] / 1e12:,.0f} attention, "
        f"{peaks['bytes_per_s'] / 1e12:.2f} TB/s, {1e6 * peaks['launch_s']:.0f} us per launch. "
        "ms is the roofline, no measurement; host: its copies to the device and waits for it; "
        "gather: GB that are only moved"
    )
    for shape, rows in groupby(result["rows"], key=itemgetter("shape")):
        console.print(_table(shape, list(rows)))


def _table(shape: str, rows: list[dict[str, Any]]) -> Table:
    first = rows[0]
    table = Table(
        title=f"{shape}: {first['sequences']} sequences, {first['tokens']:,} tokens, "
        f"{first['unique_tokens']:,} unique"
    )
    table.add_column("numerics", no_wrap=True)
    titles = "rows", "launches", "host", "TFLOP", "attention", "GB", "gather", "ms", "of peak"
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    moved = row["bytes"]
    return (
        "  as graphs" if row["graphs"] else row["numerics"],
        *(f"{row[name]:,}" for name in ("rows", "launches")),
        f"{row['host_copies'] + row['host_syncs']:,}",
        *(f"{row[name] / 1e12:,.1f}" for name in ("matmul_flops", "attention_flops")),
        *(f"{size / 1e9:,.0f}" for size in (sum(moved.values()), moved["gather"])),
        f"{1e3 * row['seconds']:,.1f}",
        f"{row['fraction_of_peak']:.0%}",
    )
