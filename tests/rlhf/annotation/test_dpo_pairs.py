from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from support.groups import annotated, group, read_lines, rewards_lists, write_lines

from cluster.cli import main
from cluster.data.groups import ResponseGroup
from cluster.rlhf.annotation.dpo_pairs import PairMethod, PairRule, Preference, choose_pair, dpo_row

methods = st.sampled_from(get_args(PairMethod))
texts_of_any_length = st.text("ab", max_size=9)


def indices(rewards: Sequence[float], method: PairMethod, seed: int = 0) -> tuple[int, int] | str:
    found = choose_pair(group(rewards), PairRule(method, seed=seed))
    if isinstance(found, Preference):
        return found.chosen.index, found.rejected.index
    return found


@st.composite
def groups_of_texts(draw: st.DrawFn) -> ResponseGroup:
    rewards = draw(rewards_lists)
    texts = draw(st.lists(texts_of_any_length, min_size=len(rewards), max_size=len(rewards)))
    return group(rewards, texts)


@given(groups_of_texts(), methods, st.sampled_from([0.0, 0.1, 1.0]))
def test_a_pair_is_two_of_the_rows_responses_with_the_margin_of_the_penalised_rewards(
    one: ResponseGroup, method: PairMethod, penalty: float
) -> None:
    pair = choose_pair(one, PairRule(method, penalty))
    if not isinstance(pair, Preference):
        return
    assert pair.chosen is one.responses[pair.chosen.index]
    assert pair.rejected is one.responses[pair.rejected.index]
    assert pair.chosen.messages != pair.rejected.messages
    values = [r.reward - penalty * r.n_chars for r in (pair.chosen, pair.rejected)]
    assert pair.margin == values[0] - values[1] > 0


@given(rewards_lists, methods)
def test_equal_rewards_alone_are_dropped_as_tied_and_one_response_as_short(
    rewards: list[float], method: PairMethod
) -> None:
    found = indices(rewards, method)
    if len(rewards) < 2:
        assert found == "short"
    elif len(set(rewards)) == 1:
        assert found == "tied"
    elif method == "max_min":
        assert isinstance(found, tuple)


@pytest.mark.parametrize(
    ("method", "rewards", "expected"),
    [
        ("max_min", [1, 3, 3, 0, 0], (1, 3)),
        ("max_random", [1, 3, 0], (1, 0)),
        ("max_random", [3, 1, 0], (0, 1)),
        ("max_random", [3, 3, 0], "tied"),
        ("max_max", [1, 3, 2], (1, 2)),
        ("max_max", [2, 3, 2], (1, 0)),
        ("max_max", [3, 3, 0], "tied"),
        ("random", [1, 3, 9], (1, 0)),
        ("random", [3, 1, 9], (0, 1)),
        ("random", [1, 1, 9], "tied"),
    ],
)
def test_each_method_on_rewards_with_ties(
    method: PairMethod, rewards: Sequence[float], expected: tuple[int, int] | str
) -> None:
    assert indices(rewards, method) == expected


def test_max_uniform_draws_every_other_about_equally_and_repeats_with_its_seed() -> None:
    drawn = [indices([0, 1, 5, 2], "max_uniform", seed) for seed in range(1500)]
    assert drawn == [indices([0, 1, 5, 2], "max_uniform", seed) for seed in range(1500)]
    counts = Counter(drawn)
    assert counts.keys() == {(2, 0), (2, 1), (2, 3)}
    assert all(400 < count < 600 for count in counts.values())  # 500 +- 5 deviations
    rows = [group([0, 1, 5, 2], number=number) for number in range(20)]
    pairs = [choose_pair(one, PairRule("max_uniform")) for one in rows]
    assert len({pair.rejected.index for pair in pairs if isinstance(pair, Preference)}) > 1


def test_a_length_penalty_chooses_orders_and_measures() -> None:
    one = group([2.0, 1.9, 1.0], ["x" * 600, "y" * 100, "z"])
    plain = choose_pair(one, PairRule())
    penalised = choose_pair(one, PairRule(length_penalty=0.001))
    assert isinstance(plain, Preference)
    assert isinstance(penalised, Preference)
    assert (plain.chosen.index, plain.rejected.index, plain.margin) == (0, 2, 1.0)
    assert (penalised.chosen.index, penalised.rejected.index) == (1, 2)
    assert penalised.margin == pytest.approx((1.9 - 0.1) - (1.0 - 0.001))
    undone = choose_pair(group([2.0, 1.9], ["x" * 600, "y" * 100]), PairRule(length_penalty=0.001))
    assert isinstance(undone, Preference)
    assert undone.chosen.index == 1  # the published script orders by the raw reward again


def test_equal_responses_are_no_pair_whatever_their_rewards() -> None:
    assert choose_pair(group([1, 2], ["same", "same"]), PairRule()) == "same text"


def test_rows_short_of_the_wanted_number_are_dropped() -> None:
    assert choose_pair(group([1, 2, 3]), PairRule(min_responses=4)) == "short"
    assert isinstance(choose_pair(group([1, 2, 3]), PairRule(min_responses=3)), Preference)


def test_the_columns_are_messages_and_the_margin() -> None:
    pair = choose_pair(group([1, 2.5]), PairRule())
    assert isinstance(pair, Preference)
    assert dpo_row(pair) == {
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "answer 1"}],
        "rejected": [{"role": "assistant", "content": "answer 0"}],
        "margin": 1.5,
    }


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["pairs", *map(str, arguments)])


def test_the_command_counts_what_it_drops_and_sets_broken_rows_apart(tmp_path: Path) -> None:
    rows: list[dict[str, Any] | str] = [
        annotated([1, 3]),
        annotated([2, 2]),
        "{oops",
        annotated([1]),
        annotated([4, 0]),
    ]
    source, out = write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    done = run(source, out)
    assert done.exit_code == 1
    assert [row["margin"] for row in read_lines(out)] == [2, 4]
    assert [row["error"]["line"] for row in read_lines(tmp_path / f"{out.name}.rejects.jsonl")] == [
        3
    ]
    assert "2 pairs of 5 rows, 1 short, 1 tied, 1 broken; mean margin 3.0000" in done.stderr


def test_strict_ends_at_the_first_broken_row_with_nothing_written(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [annotated([1, 2]), annotated([1, 2], ["a"])])
    done = run(source, tmp_path / "out.jsonl", "--strict")
    assert done.exit_code == 2
    assert "line 2: 1 responses but 2 rewards" in done.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_the_rejects_go_where_asked_and_pairs_to_standard_output(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [annotated([1, 2]), "{oops"])
    rejects = tmp_path / "bad.jsonl"
    done = run(source, "-", "--rejects", rejects, "--method", "max_uniform", "--seed", "3")
    assert (done.exit_code, len(done.stdout.splitlines())) == (1, 1)
    assert len(read_lines(rejects)) == 1


def test_a_seed_for_a_method_that_draws_nothing_is_a_usage_error(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [annotated([1, 2])])
    done = run(source, tmp_path / "out.jsonl", "--method", "max_random", "--seed", "1")
    assert done.exit_code == 2
    assert "max_uniform" in done.stderr
