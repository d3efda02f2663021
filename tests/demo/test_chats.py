from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cluster.demo.chats import DemoGroup, packaged_chats, read_demo_groups
from cluster.demo.tables import agreement, best_of, reward_table, summary
from cluster.errors import InvalidInput, NotFinite, RewardError
from cluster.types import Score


def score(reward: float) -> Score:
    return Score(reward, 7, 1, False, 0.0, 0.0, "m", "r1", "invariant")


def test_every_packaged_chat_has_a_choice_of_a_person_which_its_place_does_not_tell() -> None:
    groups = list(read_demo_groups(packaged_chats()))
    assert len(groups) == 10
    assert all(len(set(group.responses)) == 3 for group in groups)
    assert {group.person for group in groups} == {0, 1, 2}


def test_only_chats_that_a_person_judged_are_counted() -> None:
    right, wrong, unjudged = (DemoGroup([], ["a", "b"], person) for person in (1, 0, None))
    results: list[list[Score | RewardError]] = [[score(-2.0), score(-1.0)]] * 3
    text = agreement([right, wrong, unjudged], results)
    assert text == "1 of 2 as a person would choose."


def test_the_best_is_the_highest_reward_and_an_error_never_wins() -> None:
    items: list[Score | RewardError] = [score(-2.0), NotFinite("NaN"), score(-1.0)]
    assert best_of(items) == 2
    assert best_of([NotFinite("NaN")]) is None


def test_the_table_shows_every_reward_and_names_every_error() -> None:
    group = next(read_demo_groups(packaged_chats()))
    results: list[Score | RewardError] = [score(0.25), NotFinite("NaN"), score(-1.5)]
    console = Console(width=200, record=True, file=StringIO())
    console.print(reward_table([group], [results]))
    text = console.export_text()
    assert all(part in text for part in ("+0.250", "not_finite", "-1.500", "person"))
    assert text.count("best") == 2  # one the model's, one the person's
    assert summary([results], 1.0).startswith("2 of 3 responses scored by m at r1")


@pytest.mark.parametrize("line", ['{"prompt": "a"}', "{", '{"responses": ["a"]}'])
def test_a_row_without_a_group_is_refused_by_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"prompt": "Hi", "responses": ["Yo"]}}\n{line}\n')
    with pytest.raises(InvalidInput, match="line 2"):
        list(read_demo_groups(file))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "Hi", "responses": "Yo"}', "`responses` must be a list of strings"),
        ('{"prompt": "Hi", "responses": 5}', "`responses` must be a list of strings"),
        ('{"prompt": "Hi", "responses": ["Yo", 5]}', "`responses` must be a list of strings"),
        ('{"prompt": 5, "responses": ["Yo"]}', "`prompt` must be a string or a list of messages"),
        ('{"prompt": [{"role": "user"}], "responses": ["Yo"]}', "message 0"),
    ],
)
def test_fields_of_another_kind_are_refused_by_line(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(row + "\n")
    with pytest.raises(InvalidInput, match=f"line 1: {message}"):
        list(read_demo_groups(file))


@pytest.mark.parametrize("person", ["1", "true", "-1", '"0"'])
def test_a_choice_that_is_no_response_is_refused_by_line(tmp_path: Path, person: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"prompt": "Hi", "responses": ["Yo"], "person": {person}}}\n')
    with pytest.raises(InvalidInput, match=r"line 1: `person` is .* from 0 to 0"):
        list(read_demo_groups(file))
