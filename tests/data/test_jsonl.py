from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.data.jsonl import BrokenRow, Row, atomic_writer, to_json_line, write_rows
from cluster.data.reader import read_rows
from cluster.errors import InvalidInput


def test_rows_keep_their_line_numbers_past_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": "\xc3\xa9"}')
    assert list(read_rows(path)) == [Row(1, {"a": 1}), Row(4, {"a": "é"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "not JSON"),
        (b"[1, 2]", "a JSON list, not an object"),
        (b'"text"', "a JSON str, not an object"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_broken_line_is_a_value_and_costs_no_other(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    first, broken, last = read_rows(path)
    assert (first, last) == (Row(1, {"a": 1}), Row(3, {"a": 3}))
    assert isinstance(broken, BrokenRow)
    assert (broken.number, broken.text) == (2, line.decode("utf-8", "backslashreplace"))
    assert reason in broken.reason


def test_an_array_file_yields_its_elements_by_place(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text('\n [{"a": 1},\n 5, {"a": 3}]')
    first, broken, last = read_rows(path)
    assert (first, last) == (Row(1, {"a": 1}), Row(3, {"a": 3}))
    assert isinstance(broken, BrokenRow)


def test_a_broken_array_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text('[{"a": 1}, ')
    with pytest.raises(InvalidInput, match=r"in\.json is a JSON array that cannot be read"):
        list(read_rows(path))


@pytest.mark.parametrize("name", ["in.jsonl.gz", "in.json.gz"])
def test_gzipped_files_are_read_as_what_they_hold(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    text = '{"a": 1}\n{"a": 2}\n' if "jsonl" in name else '[{"a": 1}, {"a": 2}]'
    path.write_bytes(gzip.compress(text.encode()))
    assert list(read_rows(path)) == [Row(1, {"a": 1}), Row(2, {"a": 2})]


def test_a_gzip_file_cut_short_yields_what_it_has_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    lines = "".join(json.dumps({"a": f"{n * n:x}"}) + "\n" for n in range(5000))
    path.write_bytes(gzip.compress(lines.encode())[:-2000])
    *rows, last = read_rows(path)
    assert len(rows) > 100
    assert all(isinstance(row, Row) for row in rows)
    assert isinstance(last, BrokenRow)
    assert "ends too early" in last.reason


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    with pytest.raises(ZeroDivisionError):
        write_rows(path, ({"a": 1 / n} for n in (1, 0)))
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with atomic_writer(path) as out:
        out.write("new\n")
        assert not path.exists()
    assert path.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_writer(link) as out:
        out.write("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_written_rows_are_read_back(tmp_path: Path, name: str) -> None:
    values: list[dict[str, Any]] = [
        {"text": "日本 \ud800 \n", "reward": -0.5},
        {"nested": [{"a": None}]},
    ]
    write_rows(tmp_path / name, values)
    assert [row.value for row in read_rows(tmp_path / name) if isinstance(row, Row)] == values


def test_without_a_file_rows_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(None, [{"a": "é"}])
    assert capsys.readouterr().out == '{"a": "é"}\n'


def test_text_that_utf8_cannot_hold_is_escaped() -> None:
    assert to_json_line({"a": "\ud800é"}) == '{"a": "\\ud800\\u00e9"}\n'
