"""`reward-cluster verify`: the engine's rewards beside the plain transformers pipeline's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from cluster.cli.engine_options import engine_config, engine_options

if TYPE_CHECKING:
    from cluster.engine.parity.check import VerifyReport, VerifyRow


@click.command()
@engine_options
def verify(**options: Any) -> None:
    """Score a fixed set of chats through the model card's pipeline and through the engine.

    The pipeline runs one chat at a time, the engine all in one call. Token ids must be equal;
    rewards must be bit-equal with `--numerics reference` on a CPU, else within a bound in units of
    the weights' spacing at the largest reward, and again in float32. The BOS is the tokenizer's, as
    in the pipeline.

    Exit status: 0 they agree; 1 they do not; 2 wrong usage, model or config.
    """
    config = engine_config(**options)
    from cluster.engine.parity.check import verify as run

    report = run(config)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(_table(report))
    console.print(*_verdict(report), sep="\n", soft_wrap=True, highlight=False)
    sys.exit(0 if report.passed else 1)


def _table(report: VerifyReport) -> Table:
    info = report.info
    table = Table(
        title=f"{info.model} @ {info.revision}: {info.numerics}, weights {info.dtype}, "
        f"arithmetic {info.compute_dtype}, {info.device}, {info.forward} forward"
    )
    table.add_column("chat")
    for name in ("tokens", "same ids", "pipeline", "engine", "difference"):
        table.add_column(name, justify="right")
    for row in report.rows:
        table.add_row(row.name, str(row.n_tokens), *_cells(row))
    return table


def _cells(row: VerifyRow) -> tuple[str, ...]:
    same_ids = "yes" if row.same_ids else "NO"
    if row.problem is not None:
        return same_ids, row.problem, "", ""
    return same_ids, f"{row.pipeline:.9g}", f"{row.engine:.9g}", f"{row.difference:.3g}"


def _verdict(report: VerifyReport) -> list[str]:
    skipped = [f"refused by the model's own template: {', '.join(report.skipped)}"]
    verdict = "PASSED" if report.passed else "FAILED"
    return [*report.findings, *(skipped if report.skipped else []), verdict]
