"""Terminal tables of the engine, service, training and dialect benchmarks."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_training(result: dict[str, Any], console: Console) -> None:
    """One row per workload."""
    table = Table(title=f"{result['preset']}, {result['machine']['device']}")
    table.add_column("workload", no_wrap=True)
    for title in ("pairs", "tokens", "TRL pairs/s", "here pairs/s", "ratio"):
        table.add_column(title, justify="right")
    for row in result["rows"]:
        rates = row["pairs_per_s"]
        cells = f"{row['pairs']}", f"{row['tokens']:,}", f"{rates['trl']:.2f}"
        table.add_row(row["workload"], *cells, f"{rates['here']:.2f}", f"{row['ratio']:.2f}")
    console.print(table)


def print_cluster(result: dict[str, Any], console: Console) -> None:
    """One row per way to call the service, compared with the engine alone."""
    console.print(
        f"engine alone: {result['engine_alone_tokens_per_s']:,.0f} tokens/s, "
        f"{result['machine']['threads']} torch threads on both sides"
    )
    table = Table(title="calls of 2 prompts x 8 responses")
    table.add_column("through")
    for title in (
        "tokens/s",
        "ratio",
        "call p50/p95/p99 ms",
        "open loop p50/p95/p99 ms",
        "idle +ms",
    ):
        table.add_column(title, justify="right")
    for name, found in result["served"].items():
        table.add_row(
            name,
            f"{found['closed']['tokens_per_s']:,.0f}",
            f"{result['ratios'][name]:.2f}",
            _latency(found["closed"]["call_ms"]),
            _latency(found["open"]["call_ms"]),
            f"{found['idle_added_ms']:.1f}",
        )
    console.print(table)


def print_fake(result: dict[str, Any], console: Console) -> None:
    """One row per number of calls under way; beyond the knee more of them no longer help."""
    table = Table(
        title=f"{result['gpus']} fake GPUs ({result['gpu_floor_sequences_per_s']:,.0f} "
        f"sequences/s at most), {result['batchers']} batchers"
    )
    for title in ("calls under way", "sequences/s", "call p50/p95/p99 ms", "errors"):
        table.add_column(title, justify="right")
    for step in result["steps"]:
        table.add_row(
            str(step["under_way"]),
            f"{step['sequences_per_s']:,.0f}",
            _latency(step["call_ms"]),
            str(step["errors"]),
        )
    console.print(table)


def _latency(milliseconds: dict[str, float]) -> str:
    return " / ".join(f"{value:,.0f}" for value in milliseconds.values())


def print_dialects(result: dict[str, Any], console: Console) -> None:
    """One row per request."""
    head = result["machine"]
    console.print(f"{head['device']}, {head['date']}")
    table = Table(title=f"items of {result['tokens_per_item']:.0f} tokens, one request at a time")
    table.add_column("client", no_wrap=True)
    for title in ("items", "parse ms", "render ms", "request ms", "share"):
        table.add_column(title, justify="right")
    for row in result["rows"]:
        times = (f"{row[key]:.2f}" for key in ("parse_ms", "render_ms"))
        whole = f"{row['request_ms']:.0f}", f"{row['share']:.2%}"
        table.add_row(row["name"], str(row["items"]), *times, *whole)
    console.print(table)


def print_engine(result: dict[str, Any], console: Console) -> None:
    """One table per workload; ratios are to the card's pipeline."""
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
    table.add_column("contender", no_wrap=True)
    ratios = ("ratio", "to float32")[: len(result["rows"][0]["ratios"])]
    for title in ("tokens/s", *ratios, *(f"{d} peak" for d in dtypes), "MiB"):
        table.add_column(title, justify="right")
    for row in result["rows"]:
        if row["workload"] == name:
            table.add_row(
                row["contender"],
                f"{row['tokens_per_s']:,.0f}",
                *(f"{ratio:.2f}" for ratio in row["ratios"]),
                *(f"{row['fraction_of_peak'][d]:.0%}" for d in dtypes),
                f"{row['peak_mib']:,.0f}" if row["peak_mib"] else "-",
            )
    return table
