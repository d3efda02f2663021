"""Input files of every format and place, told by what they hold."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.data.input_files import find_input
from cluster.data.jsonl import BrokenRow, Row
from cluster.data.reader import read_rows, read_texts
from cluster.errors import InvalidInput

ROWS: list[dict[str, Any]] = [{"a": 1}, {"a": 2, "b": ["x", "é"]}, {"a": 3}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def values(source: str | Path) -> list[Any]:
    return [row.value for row in read_rows(source) if isinstance(row, Row)]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.parquet", "rows", "rows.gz"])
def test_a_format_is_told_by_what_the_file_holds_and_not_by_its_name(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    for data in (LINES, json.dumps(ROWS, indent=1).encode()):
        for held in (data, gzip.compress(data)):
            path.write_bytes(held)
            assert values(path) == ROWS
    rows = [{"a": 1}, {"a": 2}]
    assert values(write_parquet(path, rows)) == rows


def test_rows_as_texts_are_the_rows_that_are_read(tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "rows.parquet", [{"a": 1}, {"a": 2}])
    broken = tmp_path / "rows.jsonl"
    broken.write_bytes(b'{"a": 1}\n\nno\n\xff\n{"a": 2}\n')
    for path in (table, broken):
        texts = list(read_texts(path))
        assert [number for number, _, _ in texts] == [row.number for row in read_rows(path)]
        sound = [json.loads(text) for _, text, _ in texts if text.startswith("{")]
        assert sound == values(path)
        assert list(read_texts(path, skip=1)) == texts[1:]


def test_numbers_run_on_over_the_files_of_a_folder_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jsonl").write_bytes(b'{"a": 4}\n')
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n\n{"a": 2}\n')
    (tmp_path / "sub/c.json").write_text('[{"a": 5}, 6]')
    (tmp_path / ".hidden.jsonl").write_bytes(LINES)
    (tmp_path / "notes.txt").write_text("no data")
    found = [(type(row), row.number) for row in read_rows(tmp_path)]
    assert found == [(Row, 1), (Row, 3), (Row, 4), (Row, 5), (BrokenRow, 6)]
    assert values(f"{tmp_path}/*.jsonl") == [{"a": 1}, {"a": 2}, {"a": 4}]
    assert values(f"file://{tmp_path}/a.jsonl") == [{"a": 1}, {"a": 2}]
    assert values(f"file://{tmp_path}") == values(tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"text\n" * 30, "is not JSON lines: none of its first 20 lines"),
        (b"\x7fELF\0\0\0\n", "is binary"),
        (b'[{"a": 1}, ', "a JSON array that cannot be read"),
        (b"PAR1 and nothing more", "a Parquet file that cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_one_error(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=words):
        list(read_rows(path))


def test_a_few_sound_lines_among_broken_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"no\n" * 19 + b'{"a": 1}\n' + b"no\n" * 19)
    assert values(path) == [{"a": 1}]


def test_a_column_that_json_does_not_have_breaks_its_row_alone(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", [{"a": b"\xff"}, {"a": b"\xfe"}])
    assert [reason for _, _, reason in read_texts(path)] == [
        "cannot be written as JSON (Object of type bytes is not JSON serializable); "
        "convert the column"
    ] * 2


def test_what_is_nowhere_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no file"):
        find_input(tmp_path / "none.jsonl")
    with pytest.raises(InvalidInput, match="has no data file"):
        find_input(tmp_path)


def test_a_hub_data_set_that_cannot_be_had_is_refused_naming_it() -> None:
    found = find_input("some-org/some-data:test")
    assert found.hub is not None
    assert (found.hub.name, found.hub.split) == ("some-org/some-data", "test")
    with pytest.raises(InvalidInput, match="some-org/some-data:test is neither a file here nor"):
        list(read_rows("some-org/some-data:test"))


def test_other_bytes_are_other_data(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES)
    before = find_input(path).digest
    assert find_input(path).digest == before
    path.write_bytes(LINES + LINES)
    assert find_input(path).digest != before
