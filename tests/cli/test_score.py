from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cluster.cli import main
from cluster.config import EngineConfig
from cluster.engine.offline import OfflineScorer
from cluster.types import Score

GOOD: list[dict[str, Any]] = [
    {
        "id": 1,
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}],
    },
    {"prompt": "Hi", "response": "Yo"},
    {"prompt": "Hi", "responses": ["Yo", "Hello there!", "Yo"]},
    {"chosen": "\n\nHuman: Hi\n\nAssistant: Yo", "rejected": "\n\nHuman: Hi\n\nAssistant: no"},
]
BAD: list[dict[str, Any]] = [
    {"prompt": "Hi"},
    {"prompt": "Hi", "responses": ["Yo", None]},
    {"messages": [{"role": "user", "content": 5}]},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def score(source: Path | str, *options: str, **settings: Any) -> Result:
    return CliRunner().invoke(main, ["score", str(source), *options], **settings)


def test_every_format_gets_its_rewards(tmp_path: Path, random_checkpoint: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = score(
        write(tmp_path / "in.jsonl", GOOD), "--model", str(random_checkpoint), "--out", str(out)
    )
    assert done.exit_code == 0, done.output
    chat, pair, group, preference = read(out)
    assert chat["id"] == 1
    assert chat["reward"] == pair["reward"] == group["rewards"][0] == group["rewards"][2]
    assert chat["reward"] == preference["chosen_reward"] != preference["rejected_reward"]
    assert "4 rows (0 bad)" in done.stderr
    assert done.stdout == ""


def test_the_rewards_are_the_engines(tmp_path: Path, random_checkpoint: Path) -> None:
    out = tmp_path / "out.jsonl"
    options = ("--model", str(random_checkpoint), "--numerics", "reference", "--out", str(out))
    score(write(tmp_path / "in.jsonl", GOOD), *options)
    config = EngineConfig(model=str(random_checkpoint), numerics="reference")
    [expected] = OfflineScorer.load(config).score([GOOD[0]["messages"]])
    assert isinstance(expected, Score)
    assert read(out)[0]["reward"] == expected.reward


def test_bad_rows_are_kept_in_place_with_their_error_and_reported_by_line(
    tmp_path: Path, random_checkpoint: Path
) -> None:
    source = tmp_path / "in.jsonl"
    lines = [json.dumps(row) for row in (GOOD[1], *BAD)]
    source.write_text("\n".join([*lines[:2], "", "{oops", *lines[2:]]) + "\n")
    done = score(source, "--model", str(random_checkpoint))
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row.get("error", {}).get("line") for row in rows] == [None, 2, 4, 5, 6]
    assert [row["error"]["item"] for row in rows[1:]] == [None, None, None, "messages"]
    assert rows[2]["text"] == "{oops"
    assert not any("reward" in key for row in rows[1:] for key in row)
    for number in (2, 4, 5, 6):
        assert f"line {number}: " in done.stderr
    assert "5 rows (4 bad)" in done.stderr


def test_one_response_that_cannot_be_scored_is_told_and_costs_the_others_nothing(
    tmp_path: Path, random_checkpoint: Path
) -> None:
    row = {"prompt": "Hi", "responses": ["a", "long " * 3000, "b"]}
    (tmp_path / "in").mkdir()
    (tmp_path / "in/rows.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "out.jsonl"
    done = score(tmp_path / "in", "--out", str(out), "--model", str(random_checkpoint))
    assert done.exit_code == 1
    assert "line 1: responses[1]: " in done.stderr
    assert "1 rows (1 bad)" in done.stderr
    [found] = [json.loads(line) for line in out.read_text().splitlines()]
    assert [reward is None for reward in found["rewards"]] == [False, True, False]


def test_a_long_chat_is_an_error_or_flagged_when_cut(
    tmp_path: Path, random_checkpoint: Path
) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": "word " * 100, "response": "Yo"}, GOOD[1]])
    options = ("--model", str(random_checkpoint), "--max-tokens", "40")
    refused = score(source, *options)
    assert refused.exit_code == 1
    assert json.loads(refused.stdout.splitlines()[0])["error"]["code"] == "too_long"
    cut = score(source, *options, "--truncate", "left")
    assert cut.exit_code == 0
    first, second = [json.loads(line) for line in cut.stdout.splitlines()]
    assert first["reward_truncated"] is True
    assert "reward_truncated" not in second


def test_a_model_that_cannot_be_loaded_leaves_no_output(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = score(
        write(tmp_path / "in.jsonl", GOOD), "--model", str(tmp_path / "none"), "--out", str(out)
    )
    assert done.exit_code == 2
    assert "[model_refused]" in done.stderr
    assert not out.exists()


def test_an_unknown_choice_is_a_usage_error_that_names_the_choices(tmp_path: Path) -> None:
    done = score(write(tmp_path / "in.jsonl", GOOD), "--numerics", "exact")
    assert done.exit_code == 2
    assert "'reference', 'invariant', 'fast'" in done.stderr


def test_rows_come_from_standard_input_and_go_to_standard_output(random_checkpoint: Path) -> None:
    done = score("-", "--model", str(random_checkpoint), input=json.dumps(GOOD[1]))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["reward"]


def test_an_empty_file_is_scored_to_an_empty_file(tmp_path: Path, random_checkpoint: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = score(
        write(tmp_path / "in.jsonl", []), "--model", str(random_checkpoint), "--out", str(out)
    )
    assert (done.exit_code, out.read_text()) == (0, "")


@pytest.mark.slow
def test_the_whole_hh_rlhf_file_goes_through(
    tmp_path: Path, shared_data: Path, smallest_checkpoint: Path
) -> None:
    source = shared_data / "hh-rlhf" / "harmless-base-test.jsonl.gz"
    out = tmp_path / "out.jsonl"
    done = score(source, "--model", str(smallest_checkpoint), "--out", str(out))
    assert done.exit_code == 0, done.stderr
    before = [json.loads(line) for line in gzip.decompress(source.read_bytes()).splitlines()]
    after = read(out)
    assert len(before) == len(after) == 2312
    for old, new in zip(before, after, strict=True):
        assert old.items() <= new.items()
        assert new.keys() - old.keys() == {"chosen_reward", "rejected_reward"}


@pytest.mark.slow
def test_the_whole_llmbar_files_go_through(
    tmp_path: Path, shared_data: Path, smallest_checkpoint: Path
) -> None:
    n_rows = 0
    for source in sorted((shared_data / "llmbar").glob("*.json")):
        out = tmp_path / source.name
        done = score(source, "--model", str(smallest_checkpoint), "--out", str(out))
        assert done.exit_code == 0, done.stderr
        before, after = json.loads(source.read_text()), read(out)
        for old, new in zip(before, after, strict=True):
            assert old.items() <= new.items()
            assert new.keys() - old.keys() == {"chosen_reward", "rejected_reward"}
        n_rows += len(after)
    assert n_rows == 419
