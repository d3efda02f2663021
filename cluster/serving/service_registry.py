"""Service registry of this machine: written by `reward-cluster serve`, read by clients.

Other processes cannot find a Ray that a program starts for itself, so the program records where it
is: one file per service in a folder that only its user can write, locked as long as the service
lives. The lock ends with the process, however it ends, and the next reader removes an entry without
a lock. Knows no Ray.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Entry:
    """A running service. address: that of its Ray. http: its URL, None without HTTP."""

    address: str
    apps: tuple[str, ...]
    http: str | None
    pid: int

    def __str__(self) -> str:
        return f"{', '.join(self.apps)} at {self.http or self.address} (process {self.pid})"


def folder() -> Path:
    """The folder of this user's entries; below TMPDIR, else /tmp."""
    return Path(tempfile.gettempdir()) / f"reward-cluster-{os.getuid()}"


@contextmanager
def announced(address: str, apps: Sequence[str], http: str | None) -> Iterator[None]:
    """Announce the service to other processes while the block runs."""
    entry = Entry(address, tuple(apps), http, os.getpid())
    with contextlib.suppress(FileExistsError):
        folder().mkdir(mode=0o700)
    if not _is_ours(folder()):  # somebody else's folder in /tmp: then nobody is told
        yield
        return
    path = folder() / f"{entry.pid}.json"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(asdict(entry), file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def running() -> list[Entry]:
    """The services that this user runs on this machine now."""
    if not _is_ours(folder()):
        return []
    return [entry for path in sorted(folder().glob("*.json")) if (entry := _read(path))]


def _read(path: Path) -> Entry | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError), path.open() as file:
        if not _is_held(file):
            path.unlink(missing_ok=True)
            return None
        values = json.load(file)
        return Entry(values["address"], tuple(values["apps"]), values["http"], values["pid"])
    return None


def _is_held(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_ours(path: Path) -> bool:
    """Whether only this user can have written to `path`."""
    try:
        found = path.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & others
    )
