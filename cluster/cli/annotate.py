"""`reward-cluster annotate`: rewards for a whole data set, on every node, resumable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cluster.cli.config_options import SettingsCommand, given_settings
from cluster.cli.engine_options import engine_config, engine_options
from cluster.cli.io_options import OutFile, file_arguments, rejects_path
from cluster.cli.progress import TokenProgress, rows_to_show
from cluster.cli.scoring_backend import refuse_beside_service


@click.command(cls=SettingsCommand)
@file_arguments("row that cannot be scored", "rows that cannot be scored")
@click.option("--histogram", type=OutFile(), help="Histogram of the rewards: .png, .svg or .pdf.")
@click.option("--engines", type=click.IntRange(min=1), help="Engines. [one per GPU, else one]")
@click.option(
    "--address",
    default="local",
    show_default=True,
    help="Ray cluster; `auto` joins the one that runs here.",
)
@click.option("--app", help="Score by this running Serve application instead of own engines.")
@click.option(
    "--patience-s",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds to wait for an unresponsive service.",
)
@click.option(
    "--part-rows",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Most rows lost if the run is killed.",
)
@click.option(
    "--transform",
    "transforms",
    multiple=True,
    metavar="NAME|YAML",
    help="Recorded beside the raw rewards; `centre`, or `{name: clip, parameters: {low: -5}}`.",
)
@engine_options
def annotate(
    source: str,
    out: Path,
    rejects: Path | None,
    strict: bool,
    histogram: Path | None,
    engines: int | None,
    address: str,
    app: str | None,
    patience_s: float,
    part_rows: int,
    transforms: tuple[str, ...],
    **options: Any,
) -> None:
    """Score every response of every row of IN and write the rows with `rewards` to OUT: JSON lines,
    or Parquet where OUT ends in .parquet.

    IN is a file, a folder, a glob or a URL (s3://, gs://, hdfs://, file://) of JSON lines, JSON
    arrays or Parquet, gzipped or not, or the name of a hub data set (org/name:split). A row has
    `prompt` and `responses`, any number of them; the other formats of `score` work too. Order is
    kept. A response that cannot be scored has null among the rewards, and says why in
    `reward_errors`. A killed run resumes where it stopped when the command is given again, and ends
    with the same bytes; until then its parts are in the folder OUT.parts. Parts made from other
    data, settings or weights are refused, and so is a second run on the same OUT.

    Exit status: 0 done; 1 done, but some responses could not be scored; 2 wrong usage, or nothing
    could be scored.
    """
    config = engine_config(**options)
    refuse_beside_service(app, given_settings(options))
    from cluster.data.transforms import parse_step
    from cluster.rlhf.annotation.annotate_file import annotate_file

    with TokenProgress(rows_to_show(source)) as progress:
        report = annotate_file(
            source,
            out,
            config,
            app=app,
            patience_s=patience_s,
            rejects=rejects_path(out, rejects),
            strict=strict,
            engines=engines,
            address=address,
            part_rows=part_rows,
            transforms=list(map(parse_step, transforms)),
            on_resume=lambda n: click.echo(f"resuming after the {n} rows already done", err=True),
            on_row=lambda row: progress.add_rows(1, row.n_tokens),
        )
    if histogram is not None and report.n_rows > report.n_rejected:
        report.summary.draw(histogram)
    for line in report.lines():
        click.echo(line, err=True)
    sys.exit(2 if report.n_rejected == report.n_rows else bool(report.errors))
