"""Rejected rows: reported by line and kept in a file apart from the output.

Invariant: the file, if it is there after a run, is whole and is this run's. It is made at the
first broken row; an older one is emptied where no row is broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TextIO, TypeVar

from cluster.data.groups import Reject
from cluster.data.jsonl import atomic_writer, to_json_line
from cluster.errors import InvalidInput

R = TypeVar("R")
SHOWN = 20
"""How many broken rows are listed."""


class Rejects:
    """A context manager that takes the rejects out of a stream of rows.

    path: the file, None for no file.  strict: the first broken row ends the run.
    """

    def __init__(self, path: Path | None, strict: bool = False) -> None:
        self.n = 0
        self._path = path
        self._strict = strict
        self._sink: TextIO | None = None
        self._stack = ExitStack()
        self._shown: list[str] = []

    def __enter__(self) -> Rejects:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self._path is not None and self._path.is_file():
            self._open()
        self._stack.__exit__(kind, error, traceback)

    def keep_valid(self, rows: Iterable[R | Reject]) -> Iterator[R]:
        """The valid ones among `rows`. Raises InvalidInput at the first reject if strict."""
        for row in rows:
            if isinstance(row, Reject):
                self._add(row)
            else:
                yield row

    def lines(self) -> list[str]:
        """The first broken rows, one line each, and where the rest are."""
        more = self.n - len(self._shown)
        rest = [f"... and {more} more"] if more else []
        where = [f"broken rows are in {self._path}"] if self.n and self._path else []
        return [*self._shown, *rest, *where]

    def _add(self, reject: Reject) -> None:
        line = f"line {reject.number}: {reject.error}"
        if self._strict:
            raise InvalidInput(f"{line}; nothing is written")
        self.n += 1
        if self.n <= SHOWN:
            self._shown.append(f"{line} [{reject.error.code}]")
        if self._path is not None:
            self._open().write(to_json_line(reject.as_row()))

    def _open(self) -> TextIO:
        if self._sink is None:
            self._sink = self._stack.enter_context(atomic_writer(self._path))
        return self._sink
