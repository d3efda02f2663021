"""Best of n and pairs from files: a file in which nothing is usable is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.groups import annotated, write_lines

from cluster.cli import main
from cluster.errors import InvalidInput
from cluster.rlhf.annotation.dpo_pairs import PairRule
from cluster.rlhf.annotation.group_files import best_of_n_file, dpo_pairs_file

TIED: list[dict[str, Any] | str] = [
    annotated([1.0, 1.0], ["a", "b"]),
    annotated([2.0], ["c"]),
    "{broken",
]


def test_pairs_and_chats_are_made_from_a_notebook(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [annotated([1.0, 3.0], ["a", "b"]), *TIED])
    pairs = dpo_pairs_file(str(source), tmp_path / "pairs.jsonl")
    assert (pairs.n_pairs, pairs.n_broken, dict(pairs.dropped)) == (1, 1, {"tied": 1, "short": 1})
    chosen = best_of_n_file(str(source), tmp_path / "chats.jsonl")
    assert (chosen.n_kept, chosen.n_all, chosen.n_broken) == (3, 5, 1)
    [first, *_] = (tmp_path / "chats.jsonl").read_text().splitlines()
    assert json.loads(first)["reward"] == 3.0


def test_a_file_without_a_pair_says_why_and_leaves_the_output(tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", TIED), tmp_path / "out.jsonl"
    out.write_text("old\n")
    with pytest.raises(InvalidInput, match=r"0 pairs of 3 rows, 1 short, 1 tied, 1 broken"):
        dpo_pairs_file(str(source), out, PairRule())
    assert out.read_text() == "old\n"


@pytest.mark.parametrize("command", [("pairs",), ("select", "--threshold", "9")])
def test_the_commands_end_with_2_where_nothing_is_usable(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", TIED), tmp_path / "out.jsonl"
    name, *options = command
    done = CliRunner().invoke(main, [name, str(source), str(out), *options])
    assert done.exit_code == 2, done.output
    assert "nothing is written" in done.output
    assert not out.exists()
