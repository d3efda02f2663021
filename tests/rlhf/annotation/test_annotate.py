"""The command on a Ray of its own, and its worker without one."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.groups import read_lines, write_lines

from cluster.cli import main
from cluster.config import EngineConfig
from cluster.data import row_writer
from cluster.data.jsonl import Row
from cluster.data.output_lock import output_lock
from cluster.data.reader import read_rows
from cluster.engine.offline import OfflineScorer
from cluster.errors import InvalidInput, NotFinite, NotReady, RewardError
from cluster.rlhf.annotation.annotate import Annotated, Pool, _Worker
from cluster.rlhf.annotation.shards import Shards
from cluster.types import Conversation, Message, Score

ROWS: list[dict[str, Any] | str] = [
    {"prompt": f"Question {i}?", "responses": [f"answer {j} of {i}" for j in range(1 + i % 4)]}
    for i in range(150)
]
BROKEN = {4: "{oops", 80: {"prompt": "Hi"}, 120: {"prompt": "Hi", "responses": ["a", 5]}}


@pytest.fixture(scope="module")
def own_ray() -> Iterator[None]:
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = ROWS.copy()
    for place, row in BROKEN.items():
        rows[place - 1] = row  # type: ignore[call-overload]
    return write_lines(tmp_path / "in.jsonl", rows)


def run(source: Path | str, out: Path, model: Path, *options: str) -> Result:
    command = ["annotate", str(source), str(out), "--model", str(model), *options]
    done = CliRunner().invoke(main, command)
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done


@pytest.mark.ray
def test_ragged_rows_keep_their_order_and_get_the_engines_rewards(
    own_ray: None, tmp_path: Path, source: Path, smallest_checkpoint: Path
) -> None:
    out, picture = tmp_path / "out.jsonl", tmp_path / "rewards.png"
    done = run(source, out, smallest_checkpoint, "--histogram", str(picture), "--engines", "2")
    assert done.exit_code == 1, done.output
    good = [row for place, row in enumerate(ROWS, 1) if place not in BROKEN]
    found = read_lines(out)
    assert [{k: v for k, v in row.items() if k != "rewards"} for row in found] == good
    scorer = OfflineScorer.load(EngineConfig(model=str(smallest_checkpoint)))
    for row in found:
        chat = [Message(role="user", content=row["prompt"])]
        expected = scorer.score([(chat, text) for text in row["responses"]])
        assert row["rewards"] == [score.reward for score in expected if isinstance(score, Score)]
    rejected = read_lines(tmp_path / "out.jsonl.rejects.jsonl")
    assert [row["error"]["line"] for row in rejected] == list(BROKEN)
    assert "Collect 147 data from 150 inputs. mean score" in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "out.jsonl.parts").exists()


@pytest.mark.ray
def test_an_output_named_parquet_holds_the_same_rows_after_a_resumed_run(
    own_ray: None,
    tmp_path: Path,
    source: Path,
    smallest_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, table = tmp_path / "out.jsonl", tmp_path / "out.parquet"
    assert run(source, lines, smallest_checkpoint).exit_code == 1

    def no_space(*_: object) -> None:
        raise InvalidInput("no table")

    with monkeypatch.context() as patch:
        patch.setattr(row_writer, "_write_parquet", no_space)
        assert run(source, table, smallest_checkpoint).exit_code == 2
    assert not table.exists()
    done = run(source, table, smallest_checkpoint)
    assert "resuming after the 150 rows already done" in done.stderr
    found = [row.value for row in read_rows(table) if isinstance(row, Row)]
    assert found == read_lines(lines)


@pytest.mark.ray
def test_a_run_that_was_cut_off_goes_on_and_ends_with_the_same_bytes(
    own_ray: None,
    tmp_path: Path,
    source: Path,
    smallest_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    assert run(source, whole, smallest_checkpoint).exit_code == 1
    add = Shards.add

    def die_at_90(self: Shards, rows: Sequence[Annotated]) -> None:
        if self.n_done >= 90:
            raise KeyboardInterrupt
        add(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Shards, "add", die_at_90)
        assert run(source, cut, smallest_checkpoint, "--part-rows", "30").exit_code != 0
    assert not cut.exists()
    done = run(source, cut, smallest_checkpoint, "--part-rows", "30")
    assert "resuming after the 90 rows already done" in done.stderr
    assert cut.read_bytes() == whole.read_bytes()
    rejects = [path.with_name(f"{path.name}.rejects.jsonl") for path in (whole, cut)]
    assert rejects[0].read_bytes() == rejects[1].read_bytes()


@pytest.mark.ray
def test_folders_and_globs_of_parquet_json_lines_and_arrays_are_read(
    own_ray: None, tmp_path: Path, smallest_checkpoint: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for row in ROWS[:20] if isinstance(row, dict)]
    tables, texts = tmp_path / "tables", tmp_path / "texts"
    tables.mkdir()
    texts.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tables / "a.parquet")
    write_lines(texts / "a.jsonl", [*rows[:15], "{oops"])
    (texts / "c.json").write_text(json.dumps(rows[17:], indent=1))
    write_lines(texts / "b.jsonl", rows[15:17])
    for source, name, status in ((tables, "tables", 0), (f"{texts}/*", "texts", 1)):
        out = tmp_path / f"{name}.jsonl"
        assert run(source, out, smallest_checkpoint).exit_code == status
        assert [row["prompt"] for row in read_lines(out)] == [row["prompt"] for row in rows]
    [rejected] = read_lines(tmp_path / "texts.jsonl.rejects.jsonl")
    assert rejected["error"]["line"] == 16


@pytest.mark.ray
def test_strict_ends_at_the_first_broken_row_with_no_output(
    own_ray: None, tmp_path: Path, source: Path, smallest_checkpoint: Path
) -> None:
    done = run(source, tmp_path / "out.jsonl", smallest_checkpoint, "--strict")
    assert done.exit_code == 2
    assert "line 4: not JSON" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.ray
def test_one_response_that_cannot_be_scored_leaves_its_row_the_others_rewards(
    own_ray: None, tmp_path: Path, smallest_checkpoint: Path
) -> None:
    row = {"prompt": "Hi", "responses": ["a", "b" * 9000, "c"], "error": "a column of my own"}
    source, out = write_lines(tmp_path / "in.jsonl", [row]), tmp_path / "out.jsonl"
    done = run(source, out, smallest_checkpoint)
    assert done.exit_code == 1
    assert "line 1: responses[1]: " in done.stderr
    assert "1 responses of rows in OUT have no reward" in done.stderr
    [found] = read_lines(out)
    assert [reward is None for reward in found["rewards"]] == [False, True, False]
    assert [report["item"] for report in found["reward_errors"]] == ["responses[1]"]
    assert found["error"] == "a column of my own"


@pytest.mark.ray
def test_a_second_run_on_the_same_output_is_refused_and_names_the_first(
    own_ray: None, tmp_path: Path, source: Path, smallest_checkpoint: Path
) -> None:
    out = tmp_path / "out.jsonl"
    with output_lock(tmp_path / "out.jsonl.parts"):
        done = run(source, out, smallest_checkpoint)
    assert done.exit_code == 2
    assert f"is being written by process {os.getpid()} on " in done.stderr
    assert run(source, out, smallest_checkpoint).exit_code == 1


@pytest.mark.ray
def test_a_file_of_another_kind_is_one_error(
    own_ray: None, tmp_path: Path, smallest_checkpoint: Path
) -> None:
    source = tmp_path / "in.txt"
    source.write_text("no JSON at all\n" * 1000)
    done = run(source, tmp_path / "out.jsonl", smallest_checkpoint)
    assert done.exit_code == 2
    assert "is not JSON lines" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_a_model_that_cannot_be_loaded_is_refused_before_ray_starts(
    tmp_path: Path, source: Path
) -> None:
    done = run(source, tmp_path / "out.jsonl", tmp_path / "none")
    assert done.exit_code == 2
    assert "[model_refused]" in done.stderr
    assert list(tmp_path.iterdir()) == [source]


class Fake:
    """Answers every conversation with one error."""

    def __init__(self, error: RewardError) -> None:
        self._error = error

    def score(self, conversations: Sequence[Conversation]) -> list[RewardError]:
        return [self._error for _ in conversations]


def worked(error: RewardError, monkeypatch: pytest.MonkeyPatch) -> Annotated:
    """What a worker makes of one row whose scoring ends in `error`."""
    monkeypatch.setattr(OfflineScorer, "load", lambda _: Fake(error))
    text = json.dumps({"prompt": "Hi", "responses": ["a"]})
    [row] = _Worker(Pool(EngineConfig())).annotate([(1, text, "")])
    return row


def test_an_error_of_the_row_rejects_it_and_one_that_may_pass_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = worked(NotFinite("NaN"), monkeypatch)
    assert row.errors == ["line 1: responses[0]: NaN [not_finite]"]
    assert row.rejected
    assert "rewards" not in json.loads(row.line)
    with pytest.raises(NotReady):
        worked(NotReady("no replica yet"), monkeypatch)


@pytest.mark.ray
def test_transforms_stand_beside_the_raw_rewards_and_decide_what_parts_go_on(
    own_ray: None, tmp_path: Path, smallest_checkpoint: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", ROWS[:6])
    options = ("--transform", "centre", "--transform", "{name: clip, parameters: {low: -0.1}}")
    done = run(source, tmp_path / "out.jsonl", smallest_checkpoint, *options)
    assert done.exit_code == 0, done.stderr
    run(source, tmp_path / "raw.jsonl", smallest_checkpoint)
    raws = read_lines(tmp_path / "raw.jsonl")
    for row, raw in zip(read_lines(tmp_path / "out.jsonl"), raws, strict=True):
        assert row["rewards"] == raw["rewards"]
        mean = sum(raw["rewards"]) / len(raw["rewards"])
        expected = [max(-0.1, reward - mean) for reward in raw["rewards"]]
        assert row["transformed_rewards"] == pytest.approx(expected)
        assert [step["name"] for step in row["transforms"]] == ["centre", "clip"]
    bad = run(source, tmp_path / "out.jsonl", smallest_checkpoint, "--transform", "center")
    assert bad.exit_code == 2
    assert "affine" in bad.output
