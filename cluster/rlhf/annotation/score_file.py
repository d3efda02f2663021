"""Scoring of a file in this process: every row kept, in order, with its rewards or an error.

Invariant: the output takes its name only when it is whole. Row formats: `cluster.data.formats`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster.config import EngineConfig
from cluster.data.formats import ScoredRow, score_rows
from cluster.data.input_files import find_input
from cluster.data.jsonl import to_json_line
from cluster.data.reader import read_rows
from cluster.data.row_writer import check_writable, row_writer
from cluster.engine.offline import OfflineScorer
from cluster.types import ModelInfo

SHOWN_BAD_ROWS = 20


@dataclass(slots=True)
class ScoreReport:
    """What a run did. n_pairs, n_right: rows of chosen and rejected, and those in the right order.

    bad: a line per failure.  seconds: from the first row to the last.
    """

    info: ModelInfo
    n_rows: int = 0
    n_bad: int = 0
    n_tokens: int = 0
    n_pairs: int = 0
    n_right: int = 0
    seconds: float = 0.0
    bad: list[str] = field(default_factory=list)

    def add_row(self, row: ScoredRow) -> None:
        """Count a finished row; a tie of chosen and rejected is not right."""
        self.n_rows += 1
        self.n_bad += bool(row.errors)
        self.bad += [f"line {row.number}: {e.message} [{e.code}]" for e in row.errors]
        if row.error is None and "chosen_reward" in row.value:
            self.n_pairs += 1
            self.n_right += row.value["chosen_reward"] > row.value["rejected_reward"]

    def lines(self) -> list[str]:
        """The first bad rows, a line of totals, and what scored."""
        shown = self.bad[:SHOWN_BAD_ROWS]
        if len(self.bad) > len(shown):
            shown.append(f"... and {len(self.bad) - len(shown)} more; see the errors in the output")
        total = (
            f"{self.n_rows} rows ({self.n_bad} bad), {self.n_tokens:,} tokens in "
            f"{self.seconds:.1f} s ({self.n_tokens / max(self.seconds, 1e-9):,.0f} tokens/s)"
        )
        if self.n_pairs:
            total += f"; chosen above rejected in {self.n_right} of {self.n_pairs} pairs"
        info = self.info
        return [*shown, total, f"{info.model} @ {info.revision}, {info.numerics}, {info.device}"]


def score_file(
    source: str,
    out: Path | None,
    config: EngineConfig | None = None,
    *,
    on_row: Callable[[ScoredRow], object] = lambda row: None,
    on_tokens: Callable[[int], object] = lambda n_tokens: None,
) -> ScoreReport:
    """Score every row of `source` by an engine of `config` and write it to `out`.

    source: see `cluster.data.input_files.find_input`.  out: None is standard output.  on_row: gets
    each row as it is written; on_tokens: the tokens just scored.

    Raises InvalidInput for a source that is not there, before a model is loaded, and ConfigError
    or ModelRefused for a model that cannot be used; nothing is written then.
    """
    find_input(source)
    check_writable(out)
    scorer = OfflineScorer.load(config or EngineConfig())
    report = ScoreReport(scorer.info)
    started = time.perf_counter()

    def count(n_tokens: int) -> None:
        report.n_tokens += n_tokens
        on_tokens(n_tokens)

    scorer.on_tokens = count
    with row_writer(out) as sink:
        for row in score_rows(read_rows(source), scorer.score):
            sink.write(to_json_line(row.value))
            report.add_row(row)
            on_row(row)
    report.seconds = time.perf_counter() - started
    return report
