"""Terminal tables of the HTTP benchmarks: hops of a request, and posts of one sample."""

from __future__ import annotations

import statistics
from typing import Any

from rich.console import Console
from rich.table import Table


def print_hops(result: dict[str, Any], console: Console) -> None:
    """One row per hop, in the order of a request."""
    console.print(_machine(result))
    table = Table(title=f"one chat at a time over HTTP, {result['requests']} requests")
    table.add_column("hop")
    table.add_column("what happens")
    for title in ("median ms", "p90 ms"):
        table.add_column(title, justify="right")
    for hop in result["hops"]:
        style = "dim" if hop["is_forward"] else None
        cells = f"{hop['median_ms']:.2f}", f"{hop['p90_ms']:.2f}"
        table.add_row(hop["between"], hop["what"], *cells, style=style)
    console.print(table)
    spent = (f"{role} {ms:.1f} ms" for role, ms in result["cpu_ms"].items())
    console.print(
        f"HTTP adds {result['added_ms']:.1f} ms to the forward's {result['forward_ms']:.0f} ms "
        f"(medians; a tenth of the requests more than {result['added_p90_ms']:.1f} ms). "
        f"CPU time of a request: {', '.join(spent)}. "
        f"{result['traced_whole']} of {result['requests']} requests have every time stamp."
    )


def print_posts(result: dict[str, Any], console: Console) -> None:
    """One row per way of posting; ratios are to grouped posts to the service."""
    console.print(_machine(result))
    table = Table(title=f"POST /get_reward, {result['under_way']} samples under way")
    table.add_column("contender")
    for title in ("tokens/s", "ratio", "rounds"):
        table.add_column(title, justify="right")
    for name, rate in result["tokens_per_s"].items():
        rounds = result["ratios_of_rounds"][name]
        ratio = statistics.median(rounds)
        table.add_row(name, f"{rate:,.0f}", f"{ratio:.2f}", ", ".join(f"{r:.2f}" for r in rounds))
    console.print(table)


def _machine(result: dict[str, Any]) -> str:
    head = result["machine"]
    return (
        f"{head['device']}, {head['threads']} torch threads, {head['date']}; load average "
        f"{result['load_average']:.1f} at the end"
    )
