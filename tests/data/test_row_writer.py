from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from cluster.data import row_writer as module
from cluster.data.jsonl import Row, to_json_line
from cluster.data.reader import read_rows
from cluster.data.row_writer import row_writer
from cluster.errors import ConfigError, InvalidInput

ROWS: list[dict[str, Any]] = [
    {"prompt": "Hi", "responses": ["a", "b"], "rewards": [1.5, None]},
    {"prompt": "Hé", "responses": ["c"], "rewards": [-0.25], "topic": {"name": "x"}},
    {"prompt": "Ho", "responses": [], "rewards": [], "topic": {"name": None, "n": 3}},
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with row_writer(path) as out:
        out.writelines(map(to_json_line, rows))


def test_rows_of_different_fields_are_read_back_from_parquet_with_nulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 1)  # the kinds of all batches are joined
    out = tmp_path / "out.parquet"
    write(out, ROWS)
    found = [row.value for row in read_rows(out) if isinstance(row, Row)]
    assert [{key: row[key] for key in ROWS[0]} for row in found] == [
        {key: row[key] for key in ROWS[0]} for row in ROWS
    ]
    assert [row["topic"] for row in found] == [
        None,
        {"name": "x", "n": None},
        {"name": None, "n": 3},
    ]
    assert list(tmp_path.iterdir()) == [out]


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write(tmp_path / name, ROWS)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("value", ["text", {"a": 1}, "\ud800"])
def test_rows_that_fit_in_no_table_leave_the_old_output_and_name_the_remedy(
    tmp_path: Path, value: Any
) -> None:
    out = tmp_path / "out.parquet"
    out.write_text("old")
    with pytest.raises(InvalidInput, match=r"ends in \.jsonl"):
        write(out, [{"x": 1}, {"x": value}])
    with pytest.raises(InvalidInput, match="surrogates not allowed"):
        write(out, [{"x": "\ud800"}])
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_text() == "old"


def test_an_error_in_the_block_writes_nothing(tmp_path: Path) -> None:
    def broken() -> None:
        with row_writer(tmp_path / "out.parquet") as out:
            out.write("{}\n")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert not list(tmp_path.iterdir())


def test_any_other_name_is_json_lines(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", ROWS[:1])
    assert (tmp_path / "out.jsonl").read_text() == to_json_line(ROWS[0])


def test_a_missing_library_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="data"):
        write(tmp_path / "out.parquet", ROWS)
