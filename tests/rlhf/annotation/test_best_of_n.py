from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from support.groups import annotated, group, groups_lists, read_lines, write_lines

from cluster.cli import main
from cluster.data.groups import ResponseGroup
from cluster.errors import ConfigError
from cluster.rlhf.annotation.best_of_n import (
    Candidates,
    Picked,
    Selector,
    Threshold,
    TopFraction,
    TopK,
    sft_chat,
    sft_completion,
)

seeds = st.none() | st.integers(0, 5)
fractions = st.floats(0.01, 1.0)
selectors: st.SearchStrategy[Selector] = st.one_of(
    st.builds(TopK, st.integers(1, 7), seeds),
    st.builds(TopFraction, fractions, seeds),
    st.builds(Threshold, st.sampled_from([-9.0, 0.0, 0.3, 2.0, 9.0])),
)


def places(picked: Sequence[Picked]) -> list[tuple[int, int]]:
    return [(one.group.number, one.response.index) for one in picked]


def pick(selector: Selector, *rewards: Sequence[float]) -> list[tuple[int, int]]:
    groups = [group(r, number=i) for i, r in enumerate(rewards, 1)]
    return places(list(selector.pick(groups)))


@given(groups_lists, selectors)
def test_what_is_selected_is_the_rows_own_and_at_most_once_in_the_order_of_the_rows(
    groups: list[ResponseGroup], selector: Selector
) -> None:
    picked = list(selector.pick(groups))
    assert all(one.response is one.group.responses[one.response.index] for one in picked)
    assert all(one.group in groups for one in picked)
    assert max(Counter(places(picked)).values(), default=1) == 1
    assert [one.group.number for one in picked] == sorted(one.group.number for one in picked)


@given(groups_lists, st.integers(1, 7))
def test_top_k_leaves_nothing_better_behind(groups: list[ResponseGroup], k: int) -> None:
    for one in groups:
        kept = [p.response.reward for p in TopK(k).pick([one])]
        assert kept == sorted((r.reward for r in one.responses), reverse=True)[:k]


@given(groups_lists, fractions)
def test_a_top_fraction_leaves_nothing_better_behind(
    groups: list[ResponseGroup], fraction: float
) -> None:
    kept = [p.response.reward for p in TopFraction(fraction).pick(groups)]
    ranked = sorted((r.reward for one in groups for r in one.responses), reverse=True)
    assert sorted(kept, reverse=True) == ranked[: len(kept)]
    assert fraction * len(ranked) - 1 < len(kept) <= fraction * len(ranked) + 1e-9


def test_the_best_of_n_is_the_first_of_equals() -> None:
    assert pick(TopK(), [1, 3, 3], [2, 2], [-1]) == [(1, 1), (2, 0), (3, 0)]
    assert pick(TopK(2), [1, 3, 3, 3], [2]) == [(1, 1), (1, 2), (2, 0)]


def test_a_top_fraction_ranks_across_prompts_and_the_first_of_equals_wins() -> None:
    assert pick(TopFraction(0.5), [5, 1, 4], [4, 4, 0]) == [(1, 0), (1, 2), (2, 0)]


@pytest.mark.parametrize(("fraction", "n", "kept"), [(0.29, 100, 29), (0.2, 9, 1), (0.2, 4, 0)])
def test_a_top_fraction_keeps_the_whole_part_without_rounding_errors(
    fraction: float, n: int, kept: int
) -> None:
    assert len(pick(TopFraction(fraction), list(range(n)))) == kept


def test_a_threshold_keeps_what_reaches_it() -> None:
    assert pick(Threshold(2), [1, 2, 3], [0]) == [(1, 1), (1, 2)]


@given(groups_lists, st.integers(1, 4), fractions)
def test_a_control_keeps_as_many_as_its_rule(
    groups: list[ResponseGroup], k: int, fraction: float
) -> None:
    for rule, control in (
        (TopK(k), TopK(k, random_seed=3)),
        (TopFraction(fraction), TopFraction(fraction, random_seed=3)),
    ):
        assert len(list(rule.pick(groups))) == len(list(control.pick(groups)))


def test_a_control_is_blind_to_rewards_repeatable_and_about_uniform() -> None:
    rewards = [[9.0, 0.0, 0.0, 0.0]] * 2000
    first = pick(TopK(1, random_seed=1), *rewards)
    assert first == pick(TopK(1, random_seed=1), *[[0.0, 0.0, 0.0, 7.0]] * 2000)
    assert first != pick(TopK(1, random_seed=2), *rewards)
    counts = Counter(index for _, index in first)
    assert all(400 < counts[index] < 600 for index in range(4))  # 500 +- 5 deviations


def test_candidates_are_the_first_n_long_enough_and_free_of_forbidden_text() -> None:
    one = group([1, 2, 3, 4], ["fine", "x", "# head", "also fine"])
    allowed = Candidates(min_chars=2, forbidden=("#",)).of(one)
    assert [r.index for r in allowed.responses] == [0, 3]
    assert [r.index for r in Candidates(first_n=2).of(one).responses] == [0, 1]
    assert Candidates().of(one) == one


@pytest.mark.parametrize(
    "make", [lambda: TopK(0), lambda: TopFraction(0.0), lambda: TopFraction(1.5)]
)
def test_a_rule_that_cannot_select_is_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_the_loss_mask_marks_the_response_alone() -> None:
    [picked] = TopK().pick([group([0.5, 1.5], number=4)])
    row = sft_chat(picked)
    assert row["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "answer 1"},
    ]
    assert row["loss_mask"] == [0, 1]
    assert (row["reward"], row["line"], row["index"]) == (1.5, 4, 1)
    completion = sft_completion(picked)
    assert completion["prompt"] + completion["completion"] == row["messages"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["select", *map(str, arguments)])


def test_the_command_writes_chats_and_sets_broken_rows_apart(tmp_path: Path) -> None:
    rows: list[dict[str, Any] | str] = [
        annotated([1, 3, 3]),
        "{oops",
        annotated([2]),
        {"prompt": "Hi"},
    ]
    source, out = write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    done = run(source, out)
    assert done.exit_code == 1
    assert [(row["line"], row["index"]) for row in read_lines(out)] == [(1, 1), (3, 0)]
    rejected = read_lines(tmp_path / "out.jsonl.rejects.jsonl")
    assert [row["error"]["line"] for row in rejected] == [2, 4]
    assert "line 2: not JSON" in done.stderr
    assert "kept 2 of 4 responses of 2 rows" in done.stderr
    assert "first of a row 1.5000, all 2.2500, kept 2.5000" in done.stderr


def test_the_command_without_broken_rows_ends_with_0_and_no_rejects_file(tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", [annotated([1, 3])]), tmp_path / "out.jsonl"
    assert run(source, out, "--top-fraction", "0.5").exit_code == 0
    assert sorted(tmp_path.iterdir()) == [source, out]


def test_strict_ends_at_the_first_broken_row_and_leaves_the_old_output(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [annotated([1]), {"prompt": "Hi"}])
    out = write_lines(tmp_path / "out.jsonl", ["old"])
    done = run(source, out, "--strict")
    assert done.exit_code == 2
    assert "line 2: " in done.stderr
    assert out.read_text() == "old\n"
    assert sorted(tmp_path.iterdir()) == [source, out]


def test_rules_exclude_each_other_and_the_threshold_has_no_control(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [annotated([1])])
    for options in (["--top-k", "1", "--threshold", "0"], ["--threshold", "0", "--random", "1"]):
        assert run(source, tmp_path / "out.jsonl", *options).exit_code == 2
    assert run(source, tmp_path / "no" / "out.jsonl").exit_code == 2
    assert list(tmp_path.iterdir()) == [source]


def test_candidates_of_the_command_and_rows_left_without_any(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [annotated([1, 2], ["a#", "b"]), annotated([1])])
    out = tmp_path / "out.jsonl"
    options = ("--forbid", "#", "--min-chars", "2", "--form", "completion")
    done = run(source, out, *options)
    assert done.exit_code == 0
    assert [row["line"] for row in read_lines(out)] == [2]
    assert "1 rows without any candidate" in done.stderr
    before = out.read_text()
    assert run(source, out, "--threshold", "5").exit_code == 2  # nothing is kept
    assert out.read_text() == before
