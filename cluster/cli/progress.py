"""Progress bar with tokens per second, on stderr and only on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cluster.data.reader import read_texts


def rows_to_show(source: str) -> int | None:
    """Rows of a file of JSON lines; None if nobody looks or counting would mean reading all."""
    if not sys.stderr.isatty() or not source.endswith(".jsonl") or not Path(source).is_file():
        return None
    return sum(1 for _ in read_texts(source))


class TokenProgress:
    """Rows done of `total` (None: unknown) and tokens per second. Silent without a terminal."""

    def __init__(self, total: int | None) -> None:
        self._bar = Progress(
            TextColumn("scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=total, speed="")
        self._tokens = 0

    def __enter__(self) -> TokenProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def add_rows(self, n: int, n_tokens: int = 0) -> None:
        """`n` more rows are done, and with them `n_tokens` tokens."""
        self._bar.advance(self._task, n)
        if n_tokens:
            self.add_tokens(n_tokens)

    def add_tokens(self, n_tokens: int) -> None:
        """`n_tokens` more tokens are scored."""
        self._tokens += n_tokens
        elapsed = self._bar.tasks[0].elapsed
        speed = f"{self._tokens / elapsed:,.0f} tokens/s" if elapsed else ""
        self._bar.update(self._task, speed=f"{self._tokens:,} tokens, {speed}")
