"""The one keeper of checkpoints, and the log that follows it."""

from pathlib import Path

import pytest

from cluster.rlhf.runs.checkpoints import Checkpoints
from cluster.rlhf.runs.step_log import StepLog


def save(folder: Path) -> None:
    (folder / "weights").write_text("w")


def test_the_newest_stay(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert kept.newest() == 0
    for step in (3, 6, 9):
        kept.write(step, save)
    assert kept.steps() == [6, 9]
    assert (kept.path(kept.newest()) / "weights").read_text() == "w"


def test_one_that_is_not_whole_is_none(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        save(folder)
        raise OSError("disk full")

    kept = Checkpoints(tmp_path, keep=None)
    kept.write(1, save)
    with pytest.raises(OSError, match="disk full"):
        kept.write(2, broken)
    assert kept.steps() == [1]
    kept.write(2, save)
    assert kept.steps() == [1, 2]


def test_a_process_beside_the_main_one_writes_its_part_and_names_nothing(tmp_path: Path) -> None:
    waited: list[bool] = []
    main = Checkpoints(tmp_path, keep=1, wait=lambda: waited.append(True))
    other = Checkpoints(tmp_path, keep=1, main=False, wait=lambda: waited.append(True))

    def of_the_other(folder: Path) -> None:
        (folder / "other").write_text("o")

    def both(folder: Path) -> None:
        save(folder)
        other.write(5, of_the_other)

    main.write(5, both)
    assert (main.path(5) / "other").read_text() == "o"
    assert len(waited) == 4


def test_rows_after_the_checkpoint_and_half_a_row_are_taken_out(tmp_path: Path) -> None:
    log = StepLog(tmp_path / "log.jsonl")
    for step in (1, 2, 3):
        log.add({"step": step})
    with log.path.open("a") as out:
        out.write('{"step": 4')
    assert [row["step"] for row in log.rows()] == [1, 2, 3]
    log.begin(2)
    assert [row["step"] for row in log.rows()] == [1, 2]
