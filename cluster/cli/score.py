"""`reward-cluster score`: a reward next to every row of a file.

Every row is kept, in order, with its rewards or with an `error`; the row formats are those of
`cluster.data.formats`. The output takes its name only when it is whole.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.cli.engine_options import engine_config, engine_options
from cluster.cli.progress import TokenProgress
from cluster.data.formats import ScoredRow, score_rows
from cluster.data.input_files import find_input
from cluster.data.jsonl import atomic_writer, to_json_line
from cluster.data.reader import read_rows

if TYPE_CHECKING:
    from cluster.engine.offline import OfflineScorer

SHOWN_BAD_ROWS = 20


@dataclass(slots=True)
class Tally:
    """What the closing lines tell."""

    n_rows: int = 0
    n_bad: int = 0
    n_tokens: int = 0
    n_pairs: int = 0
    n_right: int = 0
    bad: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def add_row(self, row: ScoredRow) -> None:
        """Count a finished row; a tie of chosen and rejected is not right."""
        self.n_rows += 1
        self.n_bad += bool(row.errors)
        self.bad += [f"line {row.number}: {e.message} [{e.code}]" for e in row.errors]
        if row.error is None and "chosen_reward" in row.value:
            self.n_pairs += 1
            self.n_right += row.value["chosen_reward"] > row.value["rejected_reward"]

    def lines(self) -> list[str]:
        """The first bad rows, then one line of totals."""
        shown = self.bad[:SHOWN_BAD_ROWS]
        if len(self.bad) > len(shown):
            shown.append(f"... and {len(self.bad) - len(shown)} more; see the errors in the output")
        seconds = time.perf_counter() - self.started
        total = (
            f"{self.n_rows} rows ({self.n_bad} bad), {self.n_tokens:,} tokens in {seconds:.1f} s"
            f" ({self.n_tokens / max(seconds, 1e-9):,.0f} tokens/s)"
        )
        if self.n_pairs:
            total += f"; chosen above rejected in {self.n_right} of {self.n_pairs} pairs"
        return [*shown, total]


@click.command()
@click.argument("source", metavar="IN")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, whole or not at all; .gz compresses. Standard output if not given.",
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
    find_input(source)  # before a model is loaded
    from cluster.engine.offline import OfflineScorer

    scorer = OfflineScorer.load(config)
    tally = _score_file(source, out, scorer)
    for line in tally.lines():
        click.echo(line, err=True)
    info = scorer.info
    click.echo(f"{info.model} @ {info.revision}, {info.numerics}, {info.device}", err=True)
    sys.exit(1 if tally.bad else 0)


def _score_file(source: str, out: Path | None, scorer: OfflineScorer) -> Tally:
    tally = Tally()
    with atomic_writer(out) as sink, TokenProgress(_count(source)) as progress:

        def count_tokens(n_tokens: int) -> None:
            tally.n_tokens += n_tokens
            progress.add_tokens(n_tokens)

        scorer.on_tokens = count_tokens
        for row in score_rows(read_rows(source), scorer.score):
            sink.write(to_json_line(row.value))
            tally.add_row(row)
            progress.add_row()
    return tally


def _count(source: str) -> int | None:
    """How many rows there are, None where reading them would use them up or nobody looks."""
    if not sys.stderr.isatty() or not Path(source).is_file():
        return None
    return sum(1 for _ in read_rows(source))
