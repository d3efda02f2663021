"""Row reader: JSON lines, JSON arrays and Parquet, gzipped or not, told apart by content.

The format is recognized by the file's first bytes, not by its name. A row that cannot be read is a
value (`BrokenRow`), never an exception: one bad line of a long file must not affect the others. A
file of another kind altogether is one InvalidInput. A row's number is its line, or its place in an
array or table, from 1; over several files the numbers run on.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from cluster.data.input_files import InputFile, find_input
from cluster.data.jsonl import BrokenRow, Row, to_json_line
from cluster.errors import ConfigError, InvalidInput

_BOM = b"\xef\xbb\xbf"
_HEAD = 4096
_FIRST = 20
"""If none of this many first lines is JSON, the file is not JSON lines."""

Raw = bytes | dict[str, Any] | BrokenRow
"""A line that is not parsed yet, a row, or why there is none (its number is set later)."""
Placed = tuple[int, Raw]


def read_rows(source: str | Path) -> Iterator[Row | BrokenRow]:
    """The rows of all files of `source` (see `find_input`), in order. Blank lines are skipped.

    Raises InvalidInput where the source is not there, a file is not a data file, or a JSON array is
    broken, because its rows cannot then be told apart.
    """
    for number, raw in _raw_rows(source):
        yield _parsed(number, raw)


def read_files(source: str | Path) -> Iterator[tuple[str, Row | BrokenRow]]:
    """As `read_rows`, each row with the name of its file (or hub data set) and numbered in it."""
    for name, place, raw in _named_rows(source):
        yield name, _parsed(place, raw)


def read_texts(source: str | Path, skip: int = 0) -> Iterator[tuple[int, str, str]]:
    """As `read_rows` without the first `skip`: (number, JSON text unparsed, why it is broken)."""
    for number, raw in islice(_raw_rows(source), skip, None):
        row = raw if isinstance(raw, BrokenRow) else _as_text(raw)
        if isinstance(row, BrokenRow):
            yield number, row.text, row.reason
        else:
            yield number, row, ""


def parse_text(number: int, text: str) -> Row | BrokenRow:
    """A line of JSON as a row."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BrokenRow(number, text, f"not JSON ({error}); write one object per line")
    if isinstance(value, dict):
        return Row(number, value)
    return BrokenRow(number, text, f"a JSON {type(value).__name__}, not an object with fields")


def _parsed(number: int, raw: Raw) -> Row | BrokenRow:
    if isinstance(raw, dict):
        return Row(number, raw)
    text = raw if isinstance(raw, BrokenRow) else _decoded(raw)
    if isinstance(text, BrokenRow):
        return BrokenRow(number, text.text, text.reason)
    return parse_text(number, text)


def _as_text(raw: bytes | dict[str, Any]) -> str | BrokenRow:
    if isinstance(raw, bytes):
        return _decoded(raw)
    try:
        return to_json_line(raw).rstrip("\n")
    except (TypeError, ValueError) as error:  # dates, bytes
        return BrokenRow(0, repr(raw), f"cannot be written as JSON ({error}); convert the column")


def _decoded(line: bytes) -> str | BrokenRow:
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
        return BrokenRow(0, text, f"not UTF-8 ({error.reason} at byte {error.start})")


def _raw_rows(source: str | Path) -> Iterator[Placed]:
    """Rows numbered over all files."""
    before = last = 0
    current = None
    for name, place, raw in _named_rows(source):
        if name != current:
            before, current = before + last, name
        last = place
        yield before + place, raw


def _named_rows(source: str | Path) -> Iterator[tuple[str, int, Raw]]:
    """Rows with the name of their file and their place in it."""
    found = find_input(source)
    if found.hub is not None:
        name = f"{found.hub.name}:{found.hub.split}"
        for place, raw in enumerate(found.hub.stream(), 1):
            yield name, place, raw
    for file in found.files:
        try:
            for place, raw in _file_rows(file):
                yield file.name, place, raw
        except OSError as error:
            raise InvalidInput(f"{file.name} cannot be read: {error}") from error


def _file_rows(file: InputFile) -> Iterator[Placed]:
    with file.open() as raw:
        data: Any = io.BufferedReader(cast(Any, raw), 2**20)
        head = _peek(data)
        if head[:2] == b"\x1f\x8b":
            data = io.BufferedReader(gzip.GzipFile(fileobj=data))
            head = _peek(data)
        if head[:4] == b"PAR1":
            yield from enumerate(_parquet_rows(file, raw), 1)
        elif b"\0" in head:
            raise InvalidInput(f"{file.name} is binary; give JSON lines, a JSON array or Parquet")
        elif head.removeprefix(_BOM).lstrip()[:1] == b"[":
            yield from enumerate(_array_rows(file.name, data.read()), 1)
        else:
            yield from _checked_lines(file.name, _lines(data))


def _peek(data: Any) -> bytes:
    try:
        head: bytes = data.peek(_HEAD)[:_HEAD]
        return head
    except EOFError:
        return b""


def _lines(data: Iterable[bytes]) -> Iterator[Placed]:
    place = 0
    try:
        for place, line in enumerate(data, 1):
            line = line.removeprefix(_BOM) if place == 1 else line
            if line.strip():
                yield place, line
    except EOFError:
        yield place + 1, BrokenRow(0, "", "the gzip file ends too early; fetch it again")


def _checked_lines(name: str, lines: Iterable[Placed]) -> Iterator[Placed]:
    """`lines`, unless the first ones show that the file holds something else."""
    lines = iter(lines)
    first = list(islice(lines, _FIRST))
    if len(first) == _FIRST and all(isinstance(_parsed(*one), BrokenRow) for one in first):
        raise InvalidInput(
            f"{name} is not JSON lines: none of its first {_FIRST} lines is a JSON object; "
            "give one object per line, one JSON array, or Parquet"
        )
    yield from chain(first, lines)


def _array_rows(name: str, data: bytes) -> Iterator[Raw]:
    try:
        values = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is a JSON array that cannot be read: {error}") from None
    for value in values:
        kind = f"a JSON {type(value).__name__}, not an object with fields"
        yield value if isinstance(value, dict) else BrokenRow(0, json.dumps(value), kind)


def _parquet_rows(file: InputFile, raw: BinaryIO) -> Iterator[Raw]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ConfigError("Parquet needs: pip install 'reward-cluster[data]'") from None
    raw.seek(0)
    try:
        for batch in ParquetFile(raw).iter_batches():
            yield from batch.to_pylist()
    except ArrowInvalid as error:
        raise InvalidInput(f"{file.name} is a Parquet file that cannot be read: {error}") from error
