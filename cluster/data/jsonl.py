"""JSON rows, and atomic writers of files and folders.

Knows nothing of what a row means.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO, cast

STDIO = Path("-")


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object. number: its line from 1, or its place from 1 in a JSON array."""

    number: int
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """Text that is not a row. text: as found; reason: why it is not a row."""

    number: int
    text: str
    reason: str


@contextmanager
def atomic_writer(path: Path | None) -> Iterator[TextIO]:
    """A text file that takes its name only when the block ends without an error.

    Writes beside `path`, syncs, then renames over it; an error leaves the old file as it was.
    None or `-` is standard output; a pipe or device is written directly; `.gz` is compressed.
    """
    if path is None or path == STDIO:
        yield sys.stdout
        sys.stdout.flush()
        return
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as device:
            yield device
        return
    with atomic_file(path) as raw, _compressed(raw, path) as data:
        text = io.TextIOWrapper(data, "utf-8")
        try:
            yield text
        finally:
            text.detach()


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file of bytes that takes its name only when the block ends without an error."""
    path = path.resolve()
    temp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temp.open("xb") as raw:
            yield raw
            raw.flush()
            os.fsync(raw.fileno())
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def to_json_line(value: Mapping[str, Any]) -> str:
    """`value` as one line; readable text, but escaped where UTF-8 cannot hold it."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # a lone surrogate: legal in JSON, not in UTF-8
        line = json.dumps(value)
    return line + "\n"


def write_rows(path: Path | None, values: Iterable[Mapping[str, Any]]) -> None:
    """Every value as one JSON line, atomically."""
    with atomic_writer(path) as out:
        out.writelines(map(to_json_line, values))


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, atomically."""
    with atomic_writer(path) as out:
        out.write(json.dumps(value, indent=2) + "\n")


def append_rows(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Append every value as a JSON line of a log, synced to disk."""
    text = "".join(map(to_json_line, values))
    with path.open("ab") as log:
        log.write(text.encode())
        log.flush()
        os.fsync(log.fileno())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows that `append_rows` wrote, without a last one that a killed run wrote only half of.
    [] if there is no file."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [json.loads(line) for line in whole.splitlines()]


@contextmanager
def _compressed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".gz":
        yield raw
        return
    with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        yield cast(IO[bytes], packed)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, next to `path`, that gets that name if the block ends without an
    error."""
    temp = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temp, ignore_errors=True)  # of a run that was killed
    temp.mkdir(parents=True)
    try:
        yield temp
        temp.rename(path)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
