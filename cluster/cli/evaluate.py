"""`reward-cluster evaluate`: reward models side by side on a public suite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from cluster.cli.console import table_console
from cluster.cli.contender_options import asked_contenders, contender_options
from cluster.cli.engine_options import engine_options_beside
from cluster.cli.progress import TokenProgress
from cluster.evaluation import report
from cluster.evaluation.report_files import save
from cluster.evaluation.run import evaluate as run_evaluation
from cluster.evaluation.suite import Suite
from cluster.evaluation.suites import AUTO, SUITES, with_options
from cluster.evaluation.suites.rewardbench import TieRule


@click.command()
@click.argument("suite", type=click.Choice((AUTO, *SUITES)))
@click.argument("data", nargs=-1, required=True)
@contender_options
@click.option("--by", help="Column of the subsets. Suite `pairs` only.")
@click.option(
    "--tie-rule",
    type=click.Choice(get_args(TieRule)),
    help="Equal rewards are wrong (ai2) or half right (rlhflow). Suite `rewardbench` only. [ai2]",
)
@click.option(
    "--prior",
    multiple=True,
    metavar="DATA",
    help="Prior sets, each named by its split or file; repeat. Suite `rewardbench` only.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for report.json, report.png and each model's results.jsonl; a run resumes there.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--strict", is_flag=True, help="Stop at the first row that cannot be judged.")
@engine_options_beside("model", "revision")
def evaluate(
    suite: str,
    data: tuple[str, ...],
    by: str | None,
    tie_rule: TieRule | None,
    prior: tuple[str, ...],
    out: Path | None,
    seed: int,
    strict: bool,
    **options: Any,
) -> None:
    """Measure how often reward models prefer the right response on SUITE, side by side.

    SUITE: `auto` recognises it from the columns; `pairs` is any file of chosen and rejected.
    DATA: files (JSON lines, JSON arrays, Parquet, gzipped or not), folders, globs, URLs, or hub
    data sets (org/name or org/name:split) in the suite's own columns.

    The published columns and rules of each suite, a paired bootstrap of the differences, and
    accuracy against length and format. Published runs cut chats to their last 2048 tokens:
    --max-tokens 2048 --truncate left.

    Exit status: 0 done; 1 done, but some rows could not be judged; 2 nothing done.
    """
    asked = asked_contenders(**options)
    chosen: str | Suite = with_options(suite, by=by, tie_rule=tie_rule, prior=prior)
    with TokenProgress(None) as progress:
        done = run_evaluation(
            chosen,
            data,
            asked,
            out=out,
            seed=seed,
            strict=strict,
            on_window=lambda name, n: progress.add_rows(n),
        )
    for table in report.tables(done):
        table_console().print(table)
    for line in report.notes(done):
        click.echo(line)
    for line in [*report.refusals(done), *report.identities(done)]:
        click.echo(line, err=True)
    if out is not None:
        save(done, out)
        click.echo(f"wrote report.json, report.png and the results to {out}", err=True)
    sys.exit(1 if done.refused else 0)
