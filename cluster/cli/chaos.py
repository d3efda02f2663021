"""`reward-cluster chaos`: a soak in which everything breaks and nothing may be lost or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from cluster.cli.console import table_console

if TYPE_CHECKING:
    from cluster.bench.chaos.run import Outcome


@click.command()
@click.option(
    "--minutes",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Duration.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of callers and faults.")
def chaos(minutes: float, seed: int) -> None:
    """Kill, freeze, roll and flood a service that it starts itself, and check every answer.

    Two apps on a private Ray. Every reward is compared, bit for bit, with the engine's offline
    one for the revision that it names; every call must end; between two rolls only the current
    revision may answer; afterwards the queues are empty and, from three minutes on, memory is flat.

    Exit status: 0 nothing was violated, 1 something was.
    """
    from cluster.bench.chaos.run import run_chaos

    outcome = run_chaos(minutes, seed, Console(stderr=True).print)
    print_outcome(outcome, table_console())
    raise SystemExit(1 if outcome.ledger.n_violations else 0)


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Calls, faults and memory, then what was violated."""
    console.print(_calls(outcome))
    console.print(_faults(outcome))
    console.print(_memory(outcome))
    n = outcome.ledger.n_violations
    console.print(
        f"{n} violations" if n else "0 violations: submitted = answered, all rewards right"
    )
    for violation in outcome.ledger.violations:
        console.print(f"  {violation}", markup=False)


def _calls(outcome: Outcome) -> Table:
    table = _table(f"{outcome.seconds:.0f} s of calls", "submitted", "answered", "expected errors")
    for name, row in sorted(outcome.ledger.rows.items()):
        errors = ", ".join(f"{n:,} {code}" for code, n in row.errors.items())
        table.add_row(name, f"{row.asked:,}", f"{row.answered:,}", errors or "none")
    return table


def _faults(outcome: Outcome) -> Table:
    table = _table("fault", "times")
    for kind, times in sorted(outcome.faults.done.items()):
        table.add_row(kind, str(times))
    return table


def _memory(outcome: Outcome) -> Table:
    table = _table("largest process, MiB", "1st third", "2nd third", "3rd third")
    for role in sorted(outcome.memory.looks):
        table.add_row(role, *(f"{size:.0f}" for size in outcome.memory.thirds(role)))
    return table


def _table(first: str, *rest: str) -> Table:
    table = Table(first)
    for name in rest:
        table.add_column(name, justify="right")
    return table
