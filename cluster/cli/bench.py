"""`reward-cluster bench`: speed as ratios within one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table


@click.group()
def bench() -> None:
    """Measure speed, as ratios within one run: machines differ and are noisy."""


@bench.command()
@click.option(
    "--preset",
    type=click.Choice(["cpu", "8b"]),
    default="cpu",
    show_default=True,
    help="Model shape, random weights: 24M layer parameters, or Llama-3-8B for a GPU.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--token-budget", default=8192, show_default=True, help="Unique tokens a forward.")
@click.option("--rounds", default=3, show_default=True, help="Medians are taken over these.")
@click.option(
    "--box", default=8.0, show_default=True, help="Seconds a round for contenders that sample."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here."
)
def engine(
    preset: Any, device: str, token_budget: int, rounds: int, box: float, json_file: Path | None
) -> None:
    """The engine against plain transformers, on grouped and ungrouped rollouts."""
    from cluster.bench.engine import run
    from cluster.engine.model import resolve_device

    log = Console(stderr=True)
    result = run(preset, resolve_device(device), token_budget, rounds, box, log.print)
    print_engine(result, Console())
    if json_file:
        write_json(json_file, result)


def write_json(path: Path, result: dict[str, Any]) -> None:
    """The figures, written whole or not at all."""
    from cluster.files import atomic_writer

    with atomic_writer(path) as file:
        file.write(json.dumps(result, indent=2) + "\n")


def print_engine(result: dict[str, Any], console: Console) -> None:
    """A table a workload; the baseline is the card's pipeline."""
    head, peaks = result["machine"], result["matmul_peak_flops"]
    console.print(
        f"{head['device']}, {head['threads']} threads, torch {head['torch']}, "
        f"transformers {head['transformers']}, {head['date']}"
    )
    console.print(
        "matmul peak: " + ", ".join(f"{k} {v / 1e9:,.0f} GFLOP/s" for k, v in peaks.items())
    )
    for name, load in result["workloads"].items():
        console.print(_engine_table(name, load, result, list(peaks)))


def _engine_table(
    name: str, load: dict[str, Any], result: dict[str, Any], dtypes: list[str]
) -> Table:
    table = Table(
        title=f"{name}: {load['sequences']} sequences, {load['tokens']:,} tokens, "
        f"{load['unique_tokens']:,} unique; packing {1e3 * load['packing_s']:.1f} ms"
    )
    table.add_column("contender")
    for title in ("tokens/s", "ratio", *(f"of {d} peak" for d in dtypes), "peak MiB"):
        table.add_column(title, justify="right")
    for row in result["rows"]:
        if row["workload"] == name:
            table.add_row(
                row["contender"],
                f"{row['tokens_per_s']:,.0f}",
                f"{row['ratio']:.2f}",
                *(f"{row['fraction_of_peak'][d]:.0%}" for d in dtypes),
                f"{row['peak_mib']:,.0f}" if row["peak_mib"] else "-",
            )
    return table
