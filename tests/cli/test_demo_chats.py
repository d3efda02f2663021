from __future__ import annotations

from importlib.resources import files
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cluster.cli.demo_chats import best_of, read_demo_groups, reward_table, summary
from cluster.errors import InvalidInput, NotFinite, RewardError
from cluster.types import Score


def score(reward: float) -> Score:
    return Score(reward, 7, 1, False, 0.0, 0.0, "m", "r1", "invariant")


def test_the_packaged_file_holds_groups_to_choose_from() -> None:
    groups = list(read_demo_groups(Path(str(files("cluster") / "assets" / "demo.jsonl"))))
    assert len(groups) == 6
    assert all(len(set(group.responses)) == 4 for group in groups)


def test_the_best_is_the_highest_reward_and_an_error_never_wins() -> None:
    items: list[Score | RewardError] = [score(-2.0), NotFinite("NaN"), score(-1.0)]
    assert best_of(items) == 2
    assert best_of([NotFinite("NaN")]) is None


def test_the_table_shows_every_reward_and_names_every_error() -> None:
    group = next(read_demo_groups(Path(str(files("cluster") / "assets" / "demo.jsonl"))))
    results: list[Score | RewardError] = [score(0.25), NotFinite("NaN"), score(-1.5), score(0.125)]
    console = Console(width=200, record=True, file=StringIO())
    console.print(reward_table([group], [results]))
    text = console.export_text()
    assert all(part in text for part in ("+0.250", "not_finite", "-1.500", "+0.125", "best"))
    assert summary([results], 1.0).startswith("3 of 4 responses scored by m at r1")


@pytest.mark.parametrize("line", ['{"prompt": "a"}', "{", '{"responses": ["a"]}'])
def test_a_row_without_a_group_is_refused_by_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"prompt": "Hi", "responses": ["Yo"]}}\n{line}\n')
    with pytest.raises(InvalidInput, match="line 2"):
        list(read_demo_groups(file))
