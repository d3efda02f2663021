"""`reward-cluster evaluate`, with real engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.groups import read_lines, write_lines

from cluster.cli import main
from cluster.config import EngineConfig
from cluster.engine.offline import OfflineScorer
from cluster.evaluation.contenders import split_revision
from cluster.types import Message, Score

ROWS: list[dict[str, Any]] = [
    {"prompt": f"{i} + 1?", "chosen": f"{i + 1}.", "rejected": "No.", "topic": "ab"[i % 2]}
    for i in range(6)
]


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done


@pytest.mark.slow
def test_two_models_side_by_side_with_their_results_report_and_picture(
    tmp_path: Path, smallest_checkpoint: Path, random_checkpoint: Path
) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", ROWS), tmp_path / "out"
    models = [smallest_checkpoint, random_checkpoint]
    options = [part for model in models for part in ("--model", model)]
    done = run("pairs", source, *options, "--by", "topic", "--out", out)
    assert done.exit_code == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert [one["name"] for one in report["models"]] == list(map(str, models))
    assert [line["subset"] for line in report["models"][0]["lines"]] == ["a", "b"]
    assert report["comparisons"][0]["n"] == 6
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    for model, found in zip(models, report["models"], strict=True):
        [file] = out.glob(f"*{model.name}/results.jsonl")
        lines = read_lines(file)
        scorer = OfflineScorer.load(EngineConfig(model=str(model)))
        for row, line in zip(ROWS, lines, strict=True):
            chat = [Message(role="user", content=row["prompt"])]
            sides = scorer.score([(chat, row["chosen"]), (chat, row["rejected"])])
            assert line["rewards"] == [one.reward for one in sides if isinstance(one, Score)]
        assert found["score"] == sum(line["credit"] for line in lines) / 6
    assert "paired bootstrap" in done.stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tiny", {"model": "tiny"}),
        ("org/name@v0.1", {"model": "org/name", "revision": "v0.1"}),
    ],
)
def test_a_model_may_name_its_revision(text: str, expected: dict[str, str]) -> None:
    assert split_revision(text) == expected


def test_a_folder_that_is_there_is_a_model_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "model@home"
    folder.mkdir()
    assert split_revision(str(folder)) == {"model": str(folder)}


def test_bad_rows_are_told_and_the_exit_status_says_so(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", [ROWS[0], "{oops"])
    done = run("auto", source, "--model", smallest_checkpoint)
    assert done.exit_code == 1
    assert "in.jsonl, line 2: not JSON" in done.stderr
    nothing = run("auto", write_lines(source, ["{oops"]), "--model", smallest_checkpoint)
    assert nothing.exit_code == 2
    assert "score" not in nothing.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("llmbar", "--by", "topic"), "--by applies only to suite pairs, not llmbar"),
        (("auto", "--tie-rule", "ai2"), "--tie-rule applies only to suite rewardbench, not auto"),
        (("pairs", "--app", "rewards", "--dtype", "float16"), "leave out dtype"),
        (("pairs", "--model", "tiny", "--model", "tiny"), "tiny is given twice"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    suite, *rest = arguments
    done = run(suite, write_lines(tmp_path / "in.jsonl", ROWS), *rest)
    assert done.exit_code == 2
    assert complaint in done.stderr
