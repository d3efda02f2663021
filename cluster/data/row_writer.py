"""Row writer: JSON lines, or Parquet where the output's name ends in .parquet.

Invariant: the output takes its name only when it is whole. Parquet needs the schema of all rows
before the first row, so rows wait as JSON lines in an unnamed file next to it; memory is bounded by
`ROWS_AT_ONCE`. A field that a row lacks is null there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from cluster.data.jsonl import atomic_file, atomic_writer
from cluster.errors import ConfigError, InvalidInput

ROWS_AT_ONCE = 4096
"""Of Parquet: also the rows of a row group."""


@contextmanager
def row_writer(path: Path | None) -> Iterator[TextIO]:
    """A file to write JSON lines into, see `atomic_writer`; `.parquet` is made of them at the end.

    Raises ConfigError where Parquet cannot be written here, and InvalidInput where the rows fit in
    no table.
    """
    if not is_parquet(path):
        with atomic_writer(path) as sink:
            yield sink
        return
    assert path is not None
    check_writable(path)
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.resolve().parent) as lines:
        yield lines
        _write_parquet(path, lines)


def is_parquet(path: Path | None) -> bool:
    """Whether the name asks for Parquet."""
    return path is not None and path.suffix == ".parquet"


def check_writable(path: Path | None) -> None:
    """Raises ConfigError where `path` asks for Parquet and pyarrow is not installed."""
    if is_parquet(path):
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise ConfigError("Parquet needs: pip install 'reward-cluster[data]'") from None


def _write_parquet(path: Path, lines: TextIO) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    try:
        schema = pa.schema([])
        for batch in _batches(lines):
            schema = pa.unify_schemas([schema, batch.schema], promote_options="permissive")
        with atomic_file(path) as raw, ParquetWriter(raw, schema, compression="zstd") as table:
            for batch in _batches(lines, pa.struct(schema)):
                table.write_batch(batch)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise InvalidInput(
            f"the rows fit in no Parquet table ({error}); give an output that ends in .jsonl"
        ) from error


def _batches(lines: TextIO, kind: Any = None) -> Iterator[Any]:
    """The rows so far as record batches. kind: their struct type, None to infer one a batch."""
    import pyarrow as pa

    lines.seek(0)
    while chunk := [json.loads(line) for line in islice(lines, ROWS_AT_ONCE)]:
        yield pa.RecordBatch.from_struct_array(pa.array(chunk, kind))
