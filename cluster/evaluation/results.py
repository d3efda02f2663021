"""Per-row results of one model as JSON lines, from which a run resumes.

Invariant: the file holds whole lines only, in the order of the data; a killed run loses at most its
last window, and a resumed one ends with the same bytes. A line has `source`, `line`, and

    id, subset, rewards, truth, credit, truncated    of a judged row
    left_out                                         why the suite does not count it
    error {code, message}                            why it could not be judged
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.data.jsonl import append_rows, read_log, write_rows
from cluster.errors import ConfigError, error_of
from cluster.evaluation.scoring import Asked
from cluster.evaluation.suite import Suite
from cluster.evaluation.types import Item, Judged, LeftOut, Refusal, Verdict

NAME = "results.jsonl"


class ResultLog:
    """The lines of `path` so far, and where further ones are appended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines = read_log(path)
        write_rows(path, self.lines)  # without half a line, the end of a run that was killed

    def append(self, verdicts: Iterable[Verdict], suite: Suite) -> None:
        """Append a window of verdicts, synced to disk."""
        append_rows(self._path, (as_line(one, suite) for one in verdicts))

    def replay(self, asked: Iterator[Asked]) -> Iterator[Verdict]:
        """The verdicts of the lines so far, whose rows are taken off the front of `asked`.

        Raises ConfigError if they are of other data.
        """
        for line in self.lines:
            one = next(asked, None)
            if one is None or (place := of_line(one, line)) is None:
                raise ConfigError(
                    f"{self._path} has results of other data; give another folder, or delete it"
                )
            yield place


def as_line(one: Verdict, suite: Suite) -> dict[str, Any]:
    """A verdict as its line."""
    if isinstance(one, Judged):
        item = one.item
        return {
            "source": item.source,
            "line": item.number,
            "id": item.id,
            "subset": item.subset,
            "rewards": list(one.rewards),
            "truth": list(item.truth),
            "credit": suite.credit(one),
            "truncated": one.truncated,
        }
    place = {"source": one.source, "line": one.number}
    if isinstance(one, LeftOut):
        return place | {"left_out": one.reason}
    return place | {"error": {"code": one.error.code, "message": str(one.error)}}


def of_line(one: Asked, line: Mapping[str, Any]) -> Verdict | None:
    """The verdict that a line holds for the row `one`; None if the line is of another row."""
    number = one.number
    if (line.get("source"), line.get("line")) != (one.source, number):
        return None
    if "error" in line:
        return Refusal(one.source, number, error_of(**line["error"]))
    if isinstance(one, Item):
        rewards = tuple(line.get("rewards", ()))
        same = len(rewards) == len(one.candidates)
        return Judged(one, rewards, line["truncated"]) if same else None
    return one
