"""Output lock: one writer per output; the lock names its owner and ends with its process.

Source: filelock, which takes the operating system's lock; a killed owner leaves none.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cluster.errors import ConfigError

NAME = ".lock"


@contextmanager
def output_lock(folder: Path) -> Iterator[None]:
    """Hold `folder`, made if it is not there. Raises ConfigError naming who holds it already."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / NAME, thread_local=False)
    owner = folder / f"{NAME}.owner"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{folder} is being written by {_told(owner)}; wait for it, end it, or give another "
            "output"
        ) from None
    try:
        owner.write_text(json.dumps(_me()))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _me() -> dict[str, str | int]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().isoformat(" ", "seconds"),
        "command": " ".join(sys.argv)[:200],
    }


def _told(owner: Path) -> str:
    try:
        found = json.loads(owner.read_text())
        return (
            f"process {found['process']} on {found['host']} since {found['since']} "
            f"({found['command']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
