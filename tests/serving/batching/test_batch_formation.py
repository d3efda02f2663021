"""What the scheduler puts in one batch: shared prompts, within the budget, fair to the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scheduling import BUDGET, Ask, ask, drain, scheduler, unique_tokens

from cluster.config import SchedulerConfig
from cluster.serving.batching.prefix_affinity import prompt_id
from cluster.serving.batching.scheduler import LOOK_PAST, Scheduler


def test_responses_to_one_prompt_ride_together_across_calls() -> None:
    s = scheduler()
    group = [ask(1, 40, 10, i) for i in range(4)]
    other = ask(2, 40, 30)
    s.add([group[0]], 0.0)
    s.add([other], 0.1)
    s.add(group[1:], 0.2)
    assert drain(s) == [group, [other]]


def held(*asks_: Ask) -> list[int]:
    return [p for a in asks_ if (p := prompt_id(a.encoding)) is not None]


def test_a_prompt_that_the_device_holds_goes_ahead_of_the_line_but_not_of_the_first() -> None:
    s = scheduler()
    first, second = ask(1, 10, 60, 0), ask(2, 10, 30, 1)
    known = ask(3, 10, 30, 2)
    s.add([first, second, known], 0.0)
    assert s.take(held(known)) == [first]
    s.add([small := ask(4, 10, 10, 3)], 0.0)
    assert s.take(held(known)) == [second, known, small]


@given(flood=st.integers(20, 60))
def test_held_prompts_leave_half_of_each_batch_to_the_line(flood: int) -> None:
    s = scheduler()
    strangers = [ask(100 + i, 0, 10, i) for i in range(20)]
    s.add(strangers, 0.1)
    known = [ask(p, 10, 5, p) for p in range(1, flood)]
    s.add(known, 0.2)
    first = s.take(held(*known))
    assert sum(a.encoding.n_tokens for a in first if a in strangers) >= BUDGET // 2 - 10
    assert any(a in known for a in first)
    assert unique_tokens(first) <= BUDGET


@given(flood=st.integers(20, 60))
def test_a_flood_under_one_prompt_leaves_half_of_each_batch_to_the_line(flood: int) -> None:
    s = scheduler()
    s.add([ask(1, 10, 5, 0)], 0.0)
    strangers = [ask(100 + i, 0, 10, i) for i in range(20)]
    s.add(strangers, 0.1)
    s.add([ask(1, 10, 5, i) for i in range(1, flood)], 0.2)
    first = s.take()
    in_line = sum(a.encoding.n_tokens for a in first if a in strangers)
    assert in_line >= BUDGET // 2 - 15 - 10
    assert unique_tokens(first) <= BUDGET


def test_a_group_that_is_next_in_line_fills_a_whole_batch_with_its_prompt_paid_once() -> None:
    s = scheduler()
    group = [ask(1, 40, 2, i) for i in range(30)]
    s.add(group, 0.0)
    assert drain(s) == [group]


def test_a_sequence_that_is_all_prompt_shares_nothing_as_in_packing() -> None:
    s = scheduler()
    batch = [ask(1, 40, 0), ask(1, 40, 10)]
    s.add(batch, 0.0)
    assert s.queued_tokens == unique_tokens(batch) == 90


def test_a_request_over_the_budget_goes_alone_and_is_first_in_the_next_batch() -> None:
    s = scheduler()
    small, big, last = ask(1, 0, 60), ask(2, 0, 500), ask(3, 0, 50)
    s.add([small, big, last], 0.0)
    assert drain(s) == [[small], [big], [last]]


def test_what_does_not_fit_is_looked_past_and_is_first_in_the_next_batch() -> None:
    s = scheduler()
    a, b, c, d = ask(1, 0, 60), ask(2, 0, 50), ask(3, 0, 40), ask(4, 0, 30)
    s.add([a, b, c, d], 0.0)
    assert drain(s) == [[a, c], [b, d]]


def test_the_last_of_a_line_is_not_looked_for_past_many_that_do_not_fit() -> None:
    s = scheduler()
    wide = [ask(1, 0, 90, i) for i in range(LOOK_PAST + 1)]
    s.add([*wide, ask(2, 0, 10)], 0.0)
    assert drain(s)[0] == [wide[0]]


@given(
    line=st.lists(st.integers(1, 10), min_size=1, max_size=30),
    n_prompts=st.integers(1, 25),
    n_mates=st.integers(0, 30),
)
def test_floods_under_many_prompts_at_most_double_the_batches_that_others_wait_for(
    line: list[int], n_prompts: int, n_mates: int
) -> None:
    s = scheduler()
    serial = iter(range(10**6))
    strangers = [ask(1000 + i, 0, n, next(serial)) for i, n in enumerate(line)]
    s.add([ask(p, 5, 2, next(serial)) for p in range(n_prompts)], 0.0)
    s.add(strangers, 0.0)
    bound = 1 + s.queued_tokens // (BUDGET // 2 - 10)
    for i in range(bound):
        flood = range(n_prompts * n_mates)
        s.add([ask(p % n_prompts, 5, 2, next(serial)) for p in flood], 1.0 + i)
        if strangers[-1] in s.take():
            return
    pytest.fail(f"still waiting after {bound} batches")


def test_without_sharing_every_prompt_is_paid_for() -> None:
    config = SchedulerConfig()
    s: Scheduler[Ask] = Scheduler(config, BUDGET, share_prompts=False)
    s.add([ask(1, 40, 10, i) for i in range(4)], 0.0)
    assert s.queued_tokens == 200
    assert [len(batch) for batch in drain(s)] == [2, 2]
