from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from support.groups import annotated, read_lines, write_lines

from cluster.data.groups import Reject, ResponseGroup, group_of, read_groups
from cluster.data.jsonl import Row
from cluster.data.rejects import Rejects
from cluster.errors import InvalidInput

USER = {"role": "user", "content": "Hi"}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_a_row_of_texts_becomes_assistant_turns_with_their_rewards() -> None:
    group = group_of(Row(7, annotated([1, -2.5], ["Yo", "no"])))
    assert group.number == 7
    assert list(group.prompt) == [USER]
    assert [list(r.messages) for r in group.responses] == [[assistant("Yo")], [assistant("no")]]
    assert [(r.index, r.reward, r.n_chars) for r in group.responses] == [(0, 1.0, 2), (1, -2.5, 2)]


@pytest.mark.parametrize("response", [[assistant("Yo")], [USER, assistant("Yo")]])
def test_a_response_of_messages_may_repeat_the_prompt(response: Any) -> None:
    row = annotated([1.0], [response], prompt=[USER])
    assert list(group_of(Row(1, row)).responses[0].messages) == [assistant("Yo")]


def test_an_hh_rlhf_prompt_becomes_its_turns() -> None:
    row = annotated([1.0], prompt="\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:")
    assert [m["role"] for m in group_of(Row(1, row)).prompt] == ["user", "assistant", "user"]


FAILED = {"line": 1, "item": None, "code": "too_long", "message": "too long"}


def test_a_response_without_a_reward_is_no_candidate_and_the_others_keep_their_places() -> None:
    row = annotated([1.0, None, 3.0], ["a", "b", "c"])  # type: ignore[list-item]
    assert [(r.index, r.reward) for r in group_of(Row(1, row)).responses] == [(0, 1.0), (2, 3.0)]


@pytest.mark.parametrize(
    ("row", "item", "words"),
    [
        ({"responses": ["a"], "rewards": [1]}, None, "`prompt` is missing"),
        ({"prompt": "Hi", "responses": ["a"]}, None, "`rewards` is missing"),
        ({"prompt": "Hi", "responses": ["a"], "error": FAILED}, None, "failed: too long"),
        (annotated([]), None, "at least one"),
        (annotated([1], "ab"), None, "2 responses but 1 rewards"),
        (annotated([None]), None, "none of the responses has a reward"),  # type: ignore[list-item]
        (annotated([math.nan, 1]), 0, "finite number, not nan"),
        (annotated([math.inf, 1]), 0, "finite number, not inf"),
        (annotated([1, True]), 1, "finite number, not True"),
        (annotated([1, 10**400]), 1, "finite number"),
        (annotated([1, 2], ["a", 5]), 1, "must be"),
        (annotated([1], ["\ud800"]), 0, "surrogate"),
        (annotated([1], [[USER]], prompt=[USER]), 0, "nothing more"),
        (annotated([1], prompt=[]), None, "empty"),
        (annotated([1], prompt=5), None, "`prompt` must be"),
    ],
)
def test_a_broken_row_is_refused_naming_the_response_and_the_remedy(
    row: dict[str, Any], item: int | None, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        group_of(Row(1, row))
    assert caught.value.item == item


def test_broken_rows_are_values_in_their_places(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [annotated([1]), "{oops", "", {"prompt": "Hi"}])
    found = [(type(row), row.number) for row in read_groups(path)]
    assert found == [(ResponseGroup, 1), (Reject, 2), (Reject, 4)]


def test_rejects_are_told_by_line_and_kept_whole(tmp_path: Path) -> None:
    bad = annotated([1, math.inf]) | {"id": "x"}
    path = write_lines(tmp_path / "in.jsonl", ["{oops", annotated([1]), bad])
    out = tmp_path / "rejects.jsonl"
    with Rejects(out) as rejects:
        groups = list(rejects.keep_valid(read_groups(path)))
        assert not out.exists()
    assert [group.number for group in groups] == [2]
    assert rejects.n == 2
    first, second = read_lines(out)
    assert first["text"] == "{oops"
    assert second.items() >= bad.items()
    assert [row["error"]["line"] for row in (first, second)] == [1, 3]
    assert second["error"]["item"] == "responses[1]"
    assert [line.split(":")[0] for line in rejects.lines()[:2]] == ["line 1", "line 3"]


def test_the_rejects_of_an_earlier_run_are_emptied_and_no_file_is_made_for_none(
    tmp_path: Path,
) -> None:
    path = write_lines(tmp_path / "in.jsonl", [annotated([1])])
    stale, none = write_lines(tmp_path / "stale.jsonl", ["old"]), tmp_path / "none.jsonl"
    for out in (stale, none):
        with Rejects(out) as rejects:
            list(rejects.keep_valid(read_groups(path)))
    assert stale.read_text() == ""
    assert not none.exists()


def test_an_error_in_the_run_leaves_the_rejects_file_as_it_was(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", ["{oops"])
    out = write_lines(tmp_path / "rejects.jsonl", ["old"])

    def fail() -> None:
        with Rejects(out) as rejects:
            list(rejects.keep_valid(read_groups(path)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert out.read_text() == "old\n"
    assert sorted(tmp_path.iterdir()) == sorted((path, out))


def test_only_the_first_rejects_are_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [annotated([1]), *["{oops"] * 25])
    with Rejects(None) as rejects:
        list(rejects.keep_valid(read_groups(path)))
    assert len(rejects.lines()) == 21
    assert rejects.lines()[-1] == "... and 5 more"
