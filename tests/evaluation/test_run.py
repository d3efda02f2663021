"""An evaluation: contenders side by side, rows that one cannot judge, runs that resume."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.evaluation import Numbers, contender
from support.groups import read_lines, write_lines

from cluster.data.output_lock import output_lock
from cluster.errors import ConfigError, InvalidInput, NotReady, RewardError
from cluster.evaluation.contenders import Contender
from cluster.evaluation.run import evaluate
from cluster.evaluation.suites.pairs import Pairs
from cluster.types import Conversation, Score


def row(chosen: object, rejected: object, **fields: Any) -> dict[str, Any]:
    return {"prompt": "Hi", "chosen": str(chosen), "rejected": str(rejected)} | fields


ROWS = [row(i, 3, kind="low" if i < 4 else "high") for i in range(1, 9)]


def test_models_are_judged_on_the_same_rows_and_compared(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    done = evaluate(
        Pairs("kind"), path, [contender("up", Numbers()), contender("down", Numbers(-1))]
    )
    up, down = done.models
    # chosen 1..8 against 3: above in 4..8, equal in one
    assert (up.report.score, down.report.score) == (5 / 8, 2 / 8)
    assert [(line.subset, line.n, line.score, line.ties) for line in up.report.lines] == [
        ("high", 5, 1.0, 0),
        ("low", 3, 0.0, 1),
    ]
    [one] = done.comparisons
    assert (one.a, one.b, one.n, one.difference) == ("down", "up", 8, -3 / 8)
    assert up.interval is not None
    assert up.interval.low <= 5 / 8 <= up.interval.high


def test_without_a_column_each_file_is_a_subset(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", ROWS[:2])
    write_lines(tmp_path / "b.jsonl", ROWS[2:3])
    [model] = evaluate("auto", tmp_path, [contender("up", Numbers())]).models
    assert [(line.subset, line.n) for line in model.report.lines] == [("a", 2), ("b", 1)]


def test_a_row_that_one_model_cannot_judge_costs_only_that_model_the_row(tmp_path: Path) -> None:
    class Picky(Numbers):
        def one(self, item: int, text: str) -> Score | RewardError:
            return super().one(item, "bad" if text.startswith("8") else text)

    path = write_lines(tmp_path / "a.jsonl", ["{oops", *ROWS])
    done = evaluate("pairs", path, [contender("all", Numbers()), contender("picky", Picky())])
    everything, picky = done.models
    assert (everything.report.n, picky.report.n) == (8, 7)
    assert done.comparisons[0].n == 7
    assert done.comparisons[0].difference == 0.0
    assert [str(one) for one in done.refused] == [
        "a.jsonl, line 1: not JSON (Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)); write one object per line [invalid_input]",
        "a.jsonl, line 9: chosen: 9 tokens are more than 4 [too_long]",
    ]


def test_where_nothing_can_be_judged_the_first_reason_is_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [row("bad", "bad")])
    with pytest.raises(InvalidInput, match=r"none of the 1 rows .* by fake.*line 1: chosen: 9 tok"):
        evaluate("pairs", path, [contender("fake", Numbers())])


def test_a_service_that_is_not_ready_ends_the_run(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [row("wait", 1)])
    with pytest.raises(NotReady):
        evaluate("pairs", path, [contender("fake", Numbers())])


def test_strict_ends_at_the_first_row_that_cannot_be_judged(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [*ROWS, "{oops"])
    with pytest.raises(InvalidInput, match=r"line 9: not JSON.*strict"):
        evaluate("pairs", path, [contender("fake", Numbers())], strict=True)


class Killed(Exception):
    """As SIGKILL: nothing of the run is tidied up."""


class Dying(Numbers):
    """Is killed at its n-th call."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def __call__(self, conversations: Sequence[Conversation]) -> list[Score | RewardError]:
        if len(self.calls) == self.n:
            raise Killed
        return super().__call__(conversations)


def test_a_killed_run_resumes_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [*ROWS[:3], "{oops", *ROWS[3:]])
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    evaluate("pairs", path, [contender("a b/c", Numbers())], out=whole, window=4)
    with pytest.raises(Killed):
        evaluate("pairs", path, [contender("a b/c", Dying(3))], out=resumed, window=4)
    file = resumed / "a_b_c" / "results.jsonl"
    with file.open("ab") as half:
        half.write(b'{"source": "a.jsonl", "li')  # a line that was being written
    rest = Numbers()
    done = evaluate("pairs", path, [contender("a b/c", rest)], out=resumed, window=4)
    assert file.read_bytes() == (whole / "a_b_c" / "results.jsonl").read_bytes()
    assert sum(rest.calls) == 1 + 2 * (8 - 4)  # the probe, and the rows that were not done
    assert (done.models[0].report.n, len(done.refused)) == (8, 1)
    lines = read_lines(file)
    assert [line["line"] for line in lines] == list(range(1, 10))
    assert lines[0]["rewards"] == [1.0, 3.0]
    assert lines[3]["error"]["code"] == "invalid_input"


FROZEN = """
import sys, time
from pathlib import Path
from support.evaluation import Numbers, contender
from cluster.evaluation.run import evaluate

class Freezing(Numbers):
    def __call__(self, conversations):
        if len(self.calls) == 3:  # the probe and two windows: the rest never comes
            print("frozen", flush=True)
            time.sleep(3600)
        return super().__call__(conversations)

data, out = map(Path, sys.argv[1:])
evaluate("pairs", data, [contender("fake", Freezing())], out=out, window=4)
"""


def test_a_process_that_is_killed_loses_at_most_a_window_and_its_lock(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    whole, out = tmp_path / "whole", tmp_path / "out"
    evaluate("pairs", path, [contender("fake", Numbers())], out=whole, window=4)
    here = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", FROZEN, str(path), str(out)],
        env=os.environ | {"PYTHONPATH": here},
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"frozen\n"
        with pytest.raises(ConfigError, match=f"is being written by process {process.pid}"):
            evaluate("pairs", path, [contender("fake", Numbers())], out=out)
        process.kill()
    assert len(read_lines(out / "fake" / "results.jsonl")) == 4
    evaluate("pairs", path, [contender("fake", Numbers())], out=out, window=4)
    results = [folder / "fake" / "results.jsonl" for folder in (whole, out)]
    assert results[0].read_bytes() == results[1].read_bytes()


def test_results_of_something_else_are_never_continued(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    out = tmp_path / "out"
    evaluate("pairs", path, [contender("fake", Numbers())], out=out)
    for suite in (Pairs("kind"), "llmbar"):
        with pytest.raises(ConfigError, match="holds a run with another"):
            evaluate(suite, path, [contender("fake", Numbers())], out=out)
    write_lines(path, ROWS[:1])
    with pytest.raises(ConfigError, match="another data"):
        evaluate("pairs", path, [contender("fake", Numbers())], out=out)


def test_another_models_results_are_never_continued(tmp_path: Path) -> None:
    class Newer(Numbers):
        def one(self, item: int, text: str) -> Score | RewardError:
            return Score(0.0, 1, 0, False, 0.0, 0.0, "fake", "2", "fast")

    path = write_lines(tmp_path / "a.jsonl", ROWS)
    evaluate("pairs", path, [contender("fake", Numbers())], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="another identity"):
        evaluate("pairs", path, [contender("fake", Newer())], out=tmp_path / "out")


def test_two_runs_on_one_folder_refuse_each_other(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    with (
        output_lock(tmp_path / "out"),
        pytest.raises(ConfigError, match="is being written by process"),
    ):
        evaluate("pairs", path, [contender("fake", Numbers())], out=tmp_path / "out")


def test_a_further_model_joins_results_that_are_there(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    out = tmp_path / "out"
    evaluate("pairs", path, [contender("up", Numbers())], out=out)
    again = Numbers()
    done = evaluate(
        "pairs", path, [contender("up", again), contender("down", Numbers(-1))], out=out
    )
    assert again.calls == [1]  # the probe alone
    assert [one.report.score for one in done.models] == [5 / 8, 2 / 8]


@pytest.mark.parametrize(
    ("models", "complaint"),
    [([], "at least one model"), (["x", "x"], "x is given twice")],
)
def test_wrong_lists_of_models_are_refused(
    tmp_path: Path, models: list[str], complaint: str
) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    asked = [Contender(name, Numbers) for name in models]
    with pytest.raises(ConfigError, match=complaint):
        evaluate("pairs", path, asked)


def test_a_suite_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(ConfigError, match=r"no suite 'mmlu'; give auto or one of .*rm-bench"):
        evaluate("mmlu", path, [contender("fake", Numbers())])


def test_the_start_of_a_chat_that_was_cut_is_counted(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [row("1 cut", 2), row(1, 2)])
    assert evaluate("pairs", path, [contender("fake", Numbers())]).models[0].truncated == 1
