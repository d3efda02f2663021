"""Output shards: a killed run resumes and ends with the same bytes.

Invariant: a part is named after the input rows it covers, appears whole or not at all, and the
parts in the folder cover the rows 0..n_done without a gap. made_from.json says what they were made
from; parts of something else are never continued. Knows nothing of what a row holds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cluster.data.jsonl import atomic_writer, to_json_line
from cluster.errors import ConfigError, InvalidInput
from cluster.rlhf.runs import manifest

KEPT, REJECTED, FACTS = ".kept.jsonl", ".rejected.jsonl", ".facts.jsonl"


class FinishedRow(Protocol):
    """A row as it is kept: its JSON line, and what a summary needs of it."""

    @property
    def line(self) -> str: ...
    @property
    def rewards(self) -> list[float]: ...
    @property
    def errors(self) -> list[str]: ...
    @property
    def rejected(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What a summary needs to know of a finished row, so that its line need not be parsed again."""

    rewards: list[float]
    errors: list[str]
    rejected: bool


class Shards:
    """The folder of one run's parts, made if it is not there. n_done: input rows covered so far.

    Raises ConfigError where the folder holds parts of another input or other settings.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        self._folder = folder
        self.n_done = 0
        self._claim(made_from)
        while (end := self._end_of(self.n_done)) is not None:
            self.n_done = end

    def add(self, rows: Sequence[FinishedRow]) -> None:
        """Add one more part: the next len(rows) input rows."""
        end = self.n_done + len(rows)
        stem = f"{self.n_done:012d}-{end:012d}"
        lines = {
            REJECTED: [row.line for row in rows if row.rejected],
            FACTS: [_facts_line(row) for row in rows],
            KEPT: [row.line for row in rows if not row.rejected],  # written last: it counts
        }
        for suffix, texts in lines.items():
            with atomic_writer(self._folder / (stem + suffix)) as out:
                out.writelines(texts)
        self.n_done = end

    def kept(self) -> Iterator[str]:
        """The kept lines of every part, in the order of the input."""
        return self._lines(KEPT)

    def rejected(self) -> Iterator[str]:
        """The rejected lines of every part, in the order of the input."""
        return self._lines(REJECTED)

    def facts(self) -> Iterator[Facts]:
        """Of every row, in the order of the input."""
        for line in self._lines(FACTS):
            yield Facts(**json.loads(line))

    def remove(self) -> None:
        """Delete the folder; to be called once the output is whole."""
        shutil.rmtree(self._folder)

    def _claim(self, made_from: Mapping[str, Any]) -> None:
        if self._end_of(0) is not None and not (self._folder / manifest.NAME).exists():
            raise ConfigError(
                f"{self._folder} holds parts that do not say what they were made from; delete the "
                "folder to start again"
            )
        manifest.claim(self._folder, made_from, "delete the folder to start again")

    def _end_of(self, start: int) -> int | None:
        """The end of the part that begins at row `start`, None if there is none."""
        found = sorted(self._folder.glob(f"{start:012d}-*{KEPT}"))
        return int(found[0].name[13:25]) if found else None

    def _lines(self, suffix: str) -> Iterator[str]:
        """Raises InvalidInput if a part has disappeared: half an output is never written."""
        start = 0
        while start < self.n_done:
            end = self._end_of(start)
            if end is None:
                raise InvalidInput(f"{self._folder} has lost the part from row {start} on")
            with (self._folder / f"{start:012d}-{end:012d}{suffix}").open(encoding="utf-8") as part:
                yield from part
            start = end


def _facts_line(row: FinishedRow) -> str:
    return to_json_line({"rewards": row.rewards, "errors": row.errors, "rejected": row.rejected})
