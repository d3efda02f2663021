"""Rows of JSON in and out of files, so that nothing is lost on the way.

A line that cannot be read is a value (`BrokenRow`), never an exception: one bad line of a long
file must not cost the others. A written file is there whole or not at all. Knows nothing of what
a row means.
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

from cluster.errors import InvalidInput

STDIO = Path("-")


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object. number: its line from 1, or its place from 1 in a JSON array."""

    number: int
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """What stands where a row should be. text: as found; reason: why it is no row."""

    number: int
    text: str
    reason: str


def read_rows(path: Path) -> Iterator[Row | BrokenRow]:
    """The rows of a .jsonl or .json file, gzipped (.gz) or not; `-` is standard input.

    A `.json` file that begins with `[` is one array and is read whole; everything else is read
    line by line. Blank lines are no rows. Raises InvalidInput where an array is broken, because
    its rows cannot then be told apart.
    """
    with _open_bytes(path) as file:
        if ".json" in path.suffixes and file.peek(1).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
            yield from _array_rows(path, file.read())
        else:
            yield from _line_rows(file)


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
    temp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temp.open("xb") as raw:
            with _compressed(raw, path) as data:
                text = io.TextIOWrapper(data, "utf-8")
                try:
                    yield text
                finally:
                    text.detach()
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


def _open_bytes(path: Path) -> io.BufferedReader:
    if path == STDIO:
        return io.BufferedReader(sys.stdin.buffer)  # type: ignore[arg-type]
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path))
    return path.open("rb")


@contextmanager
def _compressed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".gz":
        yield raw
        return
    with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        yield cast(IO[bytes], packed)


def _line_rows(file: io.BufferedReader) -> Iterator[Row | BrokenRow]:
    number = 0
    try:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parse_line(number, line)
    except EOFError:
        yield BrokenRow(number + 1, "", "the gzip file ends too early; fetch it again")


def _parse_line(number: int, line: bytes) -> Row | BrokenRow:
    encoding = "utf-8-sig" if number == 1 else "utf-8"
    try:
        text = line.decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError as error:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
        return BrokenRow(number, text, f"not UTF-8 ({error.reason} at byte {error.start})")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BrokenRow(number, text, f"not JSON ({error}); write one object a line")
    return _object_row(number, value, text)


def _object_row(number: int, value: Any, text: str) -> Row | BrokenRow:
    if isinstance(value, dict):
        return Row(number, value)
    return BrokenRow(number, text, f"a JSON {type(value).__name__}, not an object with fields")


def _array_rows(path: Path, data: bytes) -> Iterator[Row | BrokenRow]:
    try:
        values = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is a JSON array that cannot be read: {error}") from None
    for number, value in enumerate(values, 1):
        yield _object_row(number, value, json.dumps(value))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, beside `path`, that takes its name when the block ends well."""
    temp = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temp, ignore_errors=True)  # of a run that was killed
    temp.mkdir(parents=True)
    try:
        yield temp
        temp.rename(path)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
