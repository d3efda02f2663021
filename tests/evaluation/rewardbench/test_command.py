"""`reward-cluster rewardbench`, with a real engine and with real LLMBar rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.groups import read_lines, write_lines
from support.rewardbench import fsfairx

from cluster.cli import main
from cluster.config import EngineConfig
from cluster.engine.offline import OfflineScorer
from cluster.evaluation.rewardbench import v1
from cluster.evaluation.rewardbench.plot import draw
from cluster.evaluation.rewardbench.report import notes
from cluster.types import Message, Score

ROWS: list[dict[str, Any]] = [
    {"id": i, "prompt": f"{i} + 1?", "chosen": f"{i + 1}.", "rejected": "No.", "subset": subset}
    for i, subset in enumerate(["alpacaeval-easy", "donotanswer", "donotanswer", "hep-go"])
]


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(main, ["rewardbench", *map(str, arguments)])
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done


def test_a_run_writes_its_report_its_examples_and_a_picture(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", ROWS), tmp_path / "out"
    done = run(source, "--model", smallest_checkpoint, "--out", out)
    assert done.exit_code == 0, done.stderr
    found = read_lines(out / "examples.jsonl")
    scorer = OfflineScorer.load(EngineConfig(model=str(smallest_checkpoint)))
    for row, example in zip(ROWS, found, strict=True):
        chat = [Message(role="user", content=row["prompt"])]
        sides = scorer.score([(chat, row["chosen"]), (chat, row["rejected"])])
        rewards = [score.reward for score in sides if isinstance(score, Score)]
        assert [*example["chosen_rewards"], *example["rejected_rewards"]] == rewards
        assert example["credit"] == (rewards[0] > rewards[1])
    report = json.loads((out / "report.json").read_text())
    assert [(line["subset"], line["n"]) for line in report["lines"]] == [
        ("alpacaeval-easy", 1),
        ("donotanswer", 2),
        ("hep-go", 1),
    ]
    credits = [example["credit"] for example in found]
    assert report["sections"]["Safety"] == sum(credits[1:3]) / 2
    assert report["models"][0]["model"] == str(smallest_checkpoint)
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.iterdir()) == [
        "examples.jsonl",
        "report.json",
        "report.png",
    ]
    assert "1 of 100" in done.stdout
    assert "not of the whole benchmark" in done.stdout


def test_broken_rows_are_told_by_line_and_kept_apart(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", [ROWS[0], "{oops"]), tmp_path / "out"
    done = run(source, "--model", smallest_checkpoint, "--out", out)
    assert done.exit_code == 1
    assert "line 2: in.jsonl: not JSON" in done.stderr
    [rejected] = read_lines(out / "rejects.jsonl")
    assert rejected["error"]["line"] == 2
    assert len(read_lines(out / "examples.jsonl")) == 1


def test_strict_ends_at_the_first_broken_row_and_writes_nothing(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", [ROWS[0], "{oops"]), tmp_path / "out"
    done = run(source, "--model", smallest_checkpoint, "--out", out, "--strict")
    assert done.exit_code == 2
    assert "line 2: in.jsonl: not JSON" in done.stderr
    assert list(out.iterdir()) == []


def test_where_no_row_can_be_judged_nothing_is_reported(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    done = run(write_lines(tmp_path / "in.jsonl", ["{oops"]), "--model", smallest_checkpoint)
    assert done.exit_code == 2
    assert "none of the 1 rows could be judged" in done.stderr
    assert "score" not in done.stdout


def test_prior_sets_join_the_score_with_half_a_weight(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    prior = tmp_path / "prior"
    prior.mkdir()
    write_lines(prior / "shp.jsonl", [ROWS[3] | {"subset": "x"}])
    source, out = write_lines(tmp_path / "in.jsonl", ROWS[:1]), tmp_path / "out"
    run(source, "--prior", prior, "--model", smallest_checkpoint, "--out", out)
    report = json.loads((out / "report.json").read_text())
    chat, priors = report["sections"]["Chat"], report["sections"]["Prior Sets"]
    assert report["score"] == pytest.approx((2 * chat + priors) / 3)


def test_version_2_reads_lists_and_scores_ties_as_a_whole(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    row = {"id": "1", "prompt": "Hi", "chosen": ["Hello!"], "rejected": ["No.", "N"]}
    rows = [
        row | {"subset": "Focus"},
        row | {"subset": "Ties", "id": "ref:0"},
        row | {"subset": "Ties", "id": "tied:0", "chosen": ["Hello!", "Good day"]},
    ]
    source, out = write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out"
    done = run(source, "--version", "2", "--model", smallest_checkpoint, "--out", out)
    assert done.exit_code == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert set(report["details"]["ties"]) >= {"accuracy_ref", "margin_hard", "tie_break"}
    assert [row["credit"] is None for row in read_lines(out / "examples.jsonl")] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--version", "2", "--tie-rule", "ai2"), "of version 1"),
        (("--app", "rewards", "--dtype", "float16"), "leave out dtype"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    done = run(write_lines(tmp_path / "in.jsonl", ROWS), *options)
    assert done.exit_code == 2
    assert complaint in done.stderr


def test_the_picture_and_the_notes_of_a_whole_run(tmp_path: Path) -> None:
    report = v1.report(fsfairx())
    draw(report, "FsfairX", tmp_path / "report.svg")
    picture = (tmp_path / "report.svg").read_text()
    assert picture.count("<svg") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.svg"]
    assert notes(report) == [
        "with the xstest weights swapped, as published until September 2024: "
        "Safety 87.82, score 83.62"
    ]


def test_llmbar_is_judged_whole_as_chat_hards_subsets(
    tmp_path: Path, shared_data: Path, smallest_checkpoint: Path
) -> None:
    out = tmp_path / "out"
    # AI2's own cut; in the bytes-only vocabulary of tests some prompts are longer than the model
    cut = ("--max-tokens", "2048", "--truncate", "left")
    done = run(shared_data / "llmbar", "--model", smallest_checkpoint, "--out", out, *cut)
    assert done.exit_code == 0, done.stderr
    lines = json.loads((out / "report.json").read_text())["lines"]
    assert [(line["subset"], line["n"], line["expected"]) for line in lines] == [
        ("llmbar-natural", 100, 100),
        ("llmbar-adver-neighbor", 134, 134),
        ("llmbar-adver-GPTInst", 92, 92),
        ("llmbar-adver-GPTOut", 47, 47),
        ("llmbar-adver-manual", 46, 46),
    ]
