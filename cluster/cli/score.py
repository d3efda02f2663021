"""`reward-cluster score`: a reward next to every row of a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cluster.cli.config_options import SettingsCommand
from cluster.cli.engine_options import engine_config, engine_options
from cluster.cli.progress import TokenProgress, rows_to_show


@click.command(cls=SettingsCommand)
@click.argument("source", metavar="IN")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, whole or not at all; .gz compresses, .parquet is Parquet. Standard output "
    "if not given.",
)
@engine_options
def score(source: str, out: Path | None, **options: Any) -> None:
    """Score every row of IN: JSON lines, a JSON array or Parquet, gzipped or not; a file, - for
    stdin, a folder, a glob, a URL, or a hub data set (org/name:split).

    \b
    A row has                             and gets
      messages                              reward
      prompt, response                      reward
      prompt, responses                     rewards
      chosen, rejected (and prompt)         chosen_reward, rejected_reward
      input, output_1, output_2, label      chosen_reward, rejected_reward

    A field is a list of messages or a string. A string prompt is one user message; a dialogue in
    the form of HH-RLHF (blank line, "Human:", blank line, "Assistant:") becomes its turns; any
    other string in place of a whole conversation is taken as already templated. A row that cannot
    be scored is kept and gets an error (line, item, code, message) instead; of several responses
    those that cannot be scored have null among the rewards and an entry in reward_errors.

    Exit status: 0 every row scored; 1 some rows are bad, the output is written anyway; 2
    wrong usage, model or config, nothing written.
    """
    config = engine_config(**options)
    from cluster.rlhf.annotation.score_file import score_file

    with TokenProgress(rows_to_show(source)) as progress:
        report = score_file(
            source,
            out,
            config,
            on_row=lambda row: progress.add_rows(1),
            on_tokens=progress.add_tokens,
        )
    for line in report.lines():
        click.echo(line, err=True)
    sys.exit(1 if report.bad else 0)
