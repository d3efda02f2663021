"""Step log: a JSON line per step in log.jsonl, and the same numbers to trackers.

Invariant: the lines are those of the steps that were kept. What a killed run did after its last
checkpoint is removed, because it is done again. Knows nothing of what a row means, except that it
has a `step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.data.jsonl import append_rows, read_log, write_rows
from cluster.rlhf.runs.trackers import Trackers


@dataclass(frozen=True, slots=True)
class StepLog:
    """log.jsonl at `path`. trackers: told of every row too."""

    path: Path
    trackers: Trackers | None = None

    def begin(self, step: int) -> None:
        """Keep the rows up to `step`, the last one that is not repeated."""
        kept = [row for row in self.rows() if row["step"] <= step]
        write_rows(self.path, kept)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row, written to disk at once."""
        append_rows(self.path, [row])
        if self.trackers is not None:
            self.trackers.log(row)

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows."""
        return read_log(self.path)
