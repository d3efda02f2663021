from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import ConfigError, InvalidInput
from cluster.rlhf.annotation.annotate import Annotated
from cluster.rlhf.annotation.shards import Facts, Shards
from cluster.rlhf.annotation.summary import RewardSummary


def row(line: str, rejected: bool = False) -> Annotated:
    return Annotated(line, [] if rejected else [1.5], ["why"] if rejected else [], rejected, 7)


lines = st.lists(st.sampled_from(["{}\n", '{"a": 1}\n']), max_size=3)


@settings(max_examples=20)  # each writes files and syncs them
@given(st.lists(st.tuples(lines, lines).filter(any), max_size=5), st.data())
def test_parts_added_over_any_number_of_runs_are_read_back_in_order(
    added: list[tuple[list[str], list[str]]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = Shards(Path(folder), {})
        for kept, rejected in added:
            if data.draw(st.booleans()):
                n_done = parts.n_done
                parts = Shards(Path(folder), {})
                assert parts.n_done == n_done
            parts.add([*map(row, kept), *(row(line, True) for line in rejected)])
        assert list(parts.kept()) == [line for kept, _ in added for line in kept]
        assert list(parts.rejected()) == [line for _, rejected in added for line in rejected]
        facts = [(len(kept), len(rejected)) for kept, rejected in added]
        assert list(parts.facts()) == [
            one
            for n_kept, n_rejected in facts
            for one in [Facts([1.5], [], False)] * n_kept + [Facts([], ["why"], True)] * n_rejected
        ]
        assert parts.n_done == sum(len(kept) + len(rejected) for kept, rejected in added)


def test_a_part_without_its_kept_lines_was_cut_off_and_does_not_count(tmp_path: Path) -> None:
    Shards(tmp_path, {}).add([row("{}\n"), row("[]\n", True)])
    [kept] = tmp_path.glob("*.kept.jsonl")
    kept.unlink()
    parts = Shards(tmp_path, {})
    assert (parts.n_done, list(parts.rejected())) == (0, [])


def test_parts_of_something_else_are_not_continued(tmp_path: Path) -> None:
    Shards(tmp_path, {"source": "a"}).add([row("{}\n")])
    with pytest.raises(ConfigError, match=r"another source .* delete the folder"):
        Shards(tmp_path, {"source": "b"})
    assert Shards(tmp_path, {"source": "a"}).n_done == 1
    (tmp_path / "made_from.json").unlink()
    with pytest.raises(ConfigError, match=r"do not say .* delete the folder"):
        Shards(tmp_path, {"source": "a"})


def test_a_part_that_goes_while_the_run_is_finished_is_an_error_and_no_shorter_output(
    tmp_path: Path,
) -> None:
    parts = Shards(tmp_path, {})
    parts.add([row("{}\n")])
    for path in tmp_path.glob("*.kept.jsonl"):
        path.unlink()
    with pytest.raises(InvalidInput, match="has lost the part from row 0"):
        list(parts.kept())


def test_the_summary_is_the_published_line_with_means_over_all_responses(tmp_path: Path) -> None:
    summary = RewardSummary()
    assert summary.line(2) == "Collect 0 data from 2 inputs."
    summary.add([1.0, 3.0])
    summary.add([2.0])
    expected = "Collect 2 data from 5 inputs. mean score 2.0 top1 score: 2.5"
    assert summary.line(5) == expected
    summary.draw(tmp_path / "rewards.png")
    assert (tmp_path / "rewards.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1
