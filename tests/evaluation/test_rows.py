"""Rows of every suite: recognised by their columns, refused at their place where broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evaluation import Numbers, contender
from support.groups import write_lines

from cluster.data.jsonl import BrokenRow, Row
from cluster.errors import InvalidInput
from cluster.evaluation.run import evaluate
from cluster.evaluation.suites import recognise, suite_of
from cluster.evaluation.types import SourcedRow

PAIR = {"prompt": "Hi", "chosen": "2 a", "rejected": "1 b"}
RM_BENCH = {
    "prompt": "Hi",
    "chosen": ["3", "2", "1"],
    "rejected": ["1", "1", "1"],
    "domain": "chat",
}
JUDGE = {
    "question": "?",
    "response_A": "1",
    "response_B": "2",
    "label": "A>B",
    "source": "livecode",
}
VOTE = {"prompt": "Hi", "response_1": "1", "response_2": "2", "winner": "model_a"}
CHECKED = {
    "prompt": "Hi",
    "response_1": "1",
    "response_2": "2",
    "scores": [True, False],
    "sampled_conflict_pairs": [[0, 1]],
}
TURNS = [{"role": "user", "content": "Hi"}]
SIDES = {"chosen": {"answer": "2"}, "reject": {"answer": "1"}}
RMB_PAIR = {"conversation_input": TURNS, "category_path": "Pairwise_set/Harmlessness/S1"} | SIDES
RMB_BEST = {
    "conversation_input": TURNS,
    "category_path": "BoN_set/Harmlessness/S1",
    "bon_best": {"answer": "2"},
    "loser_list": [{"answer": "1"}],
}
LLMBAR = {"input": "Hi", "output_1": "1", "output_2": "2", "label": 1}

SOUND: list[tuple[str, dict[str, Any]]] = [
    ("pairs", PAIR),
    ("rm-bench", RM_BENCH),
    ("judgebench", JUDGE),
    ("ppe-preference", VOTE),
    ("ppe-correctness", CHECKED),
    ("rmb", RMB_PAIR),
    ("rmb", RMB_BEST),
    ("llmbar", LLMBAR),
]


@pytest.mark.parametrize(("name", "row"), SOUND)
def test_a_suite_is_recognised_by_its_columns_and_judges_its_rows(
    tmp_path: Path, name: str, row: dict[str, Any]
) -> None:
    found = suite_of(Row(1, row))
    assert found is not None
    assert found.name == name
    done = evaluate("auto", write_lines(tmp_path / "a.jsonl", [row]), [contender("f", Numbers())])
    assert (done.suite, done.models[0].report.n, done.refused) == (name, 1, [])


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("pairs", {"prompt": "Hi", "chosen": "1"}, "no format fits"),
    ("pairs", {"prompt": "Hi", "responses": ["1", "2"]}, "`chosen` and `rejected`"),
    ("pairs", RM_BENCH, r"RM-Bench \(suite `rm-bench`\)"),
    ("rm-bench", RM_BENCH | {"chosen": ["1", "2"]}, "`chosen` must be a list of 3 responses"),
    ("rm-bench", RM_BENCH | {"rejected": ["1", "2", 3]}, "`rejected` must be a list of 3"),
    ("rm-bench", {k: v for k, v in RM_BENCH.items() if k != "domain"}, "`domain` is missing"),
    ("rm-bench", {k: v for k, v in RM_BENCH.items() if k != "prompt"}, "`prompt` is missing"),
    ("judgebench", JUDGE | {"label": "A=B"}, "`label` must be A>B or B>A"),
    ("judgebench", JUDGE | {"response_A": None}, "`response_A` is missing"),
    ("ppe-preference", VOTE | {"winner": "model_c"}, "`winner` must be"),
    ("ppe-preference", VOTE | {"response_2": ["2"]}, "`response_2` must be a string, not list"),
    ("ppe-correctness", CHECKED | {"scores": [True]}, "`scores` must be a list of 2"),
    ("ppe-correctness", CHECKED | {"sampled_conflict_pairs": [[0, 2]]}, r"has \[0, 2\], no right"),
    ("ppe-correctness", CHECKED | {"scores": [True, True]}, r"has \[0, 1\], no right and wrong"),
    ("ppe-correctness", CHECKED | {"sampled_conflict_pairs": [5]}, "has 5, no right and wrong"),
    ("ppe-correctness", PAIR, "`response_1` and `response_2` are missing"),
    ("rmb", RMB_PAIR | {"reject": {"llm_name": "m"}}, "`reject` must be an object with `answer`"),
    ("rmb", RMB_BEST | {"loser_list": []}, "`loser_list` must be a list of at least one"),
    ("rmb", RMB_PAIR | {"conversation_input": "Hi"}, "must be a list of messages"),
    ("llmbar", LLMBAR | {"label": 3}, "`label` must be 1 or 2"),
    ("llmbar", PAIR, "has `input`, `output_1`, `output_2` and `label`"),
]


@pytest.mark.parametrize(("name", "row", "complaint"), BROKEN)
def test_a_broken_row_is_refused_at_its_place_and_costs_the_others_nothing(
    tmp_path: Path, name: str, row: dict[str, Any], complaint: str
) -> None:
    good = next(sound for suite, sound in SOUND if suite == name)
    path = write_lines(tmp_path / "a.jsonl", [good, row, good])
    done = evaluate(name, path, [contender("fake", Numbers())], resamples=10)
    assert done.models[0].report.n == 2
    [bad] = done.refused
    assert bad.number == 2
    with pytest.raises(InvalidInput, match=complaint):
        raise bad.error


def sourced(*rows: Row | BrokenRow) -> list[SourcedRow]:
    return [SourcedRow("a.jsonl", "a.jsonl", one) for one in rows]


def test_broken_rows_before_the_first_sound_one_name_no_suite() -> None:
    found = recognise(sourced(BrokenRow(1, "{", "not JSON"), Row(2, JUDGE)))
    assert found.name == "judgebench"


def test_columns_of_no_suite_are_refused_naming_them() -> None:
    with pytest.raises(InvalidInput, match=r"a\.jsonl: no suite has these columns \(text, label\)"):
        recognise(sourced(Row(1, {"text": "x", "label": 1})))
    with pytest.raises(InvalidInput, match="can be read"):
        recognise(sourced(BrokenRow(1, "{", "not JSON")))
