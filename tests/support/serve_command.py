"""`reward-cluster serve` as its user runs it: a process, with tokens on, in a home of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 600.0
"""Longer than any start takes on a starved machine; no test asserts how long one takes."""
COMMAND = [sys.executable, "-c", "from cluster.cli import main; main()"]


def own_environment(folder: Path) -> dict[str, str]:
    """Of somebody who has set nothing: the token lies in this home, services are told here."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    (folder / "tmp").mkdir(exist_ok=True)
    return env | {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "RAY_TMPDIR": "/tmp"}


def run(
    arguments: Sequence[str | Path], env: dict[str, str], *, program: Sequence[str] = COMMAND
) -> subprocess.CompletedProcess[str]:
    """One command to its end, which comes soon."""
    return subprocess.run(
        [*program, *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


class Serving:
    """A service that a test may end. log: what it has said so far."""

    def __init__(self, process: subprocess.Popen[str], out: Path) -> None:
        self.process = process
        self._out = out

    @property
    def log(self) -> str:
        return self._out.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Exit status after the signal `number`."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def serving(
    arguments: Sequence[str | Path],
    env: dict[str, str],
    out: Path,
    *,
    command: str = "serve",
    says: str = "\nServing ",
) -> Iterator[Serving]:
    """A service that has said that it serves (`says`); ended with the block."""
    with out.open("w") as sink:
        words = [*COMMAND, command, *map(str, arguments)]
        process = subprocess.Popen(words, env=env, stdout=sink, stderr=sink, text=True)
        made = Serving(process, out)
        try:
            end = time.monotonic() + PATIENCE_S
            while says not in made.log:
                assert process.poll() is None, made.log
                assert time.monotonic() < end, made.log
                time.sleep(0.1)
            yield made
        finally:
            if process.poll() is None:
                made.end()
