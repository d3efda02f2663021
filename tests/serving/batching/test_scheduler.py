"""The scheduler's invariants, one test for each sentence of its docstring."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.config import SchedulerConfig
from cluster.engine.packing import pack
from cluster.errors import MAX_RETRY_AFTER_S, Overloaded
from cluster.serving.batching.prefix_affinity import prompt_id
from cluster.serving.batching.scheduler import LOOK_PAST, Scheduler
from cluster.types import Encoding

BUDGET = 100
AGEING_S = 10.0
LIMIT = 1500


@dataclass(eq=False)
class Ask:
    encoding: Encoding
    priority: int = 0
    deadline: float | None = None
    entered: float = field(default=0.0)


def ask(prompt: int, n_prompt: int, n_response: int, serial: int = 0, **terms: float) -> Ask:
    """A request under prompt number `prompt`; its response is its own."""
    ids = np.full(n_prompt + n_response, 1000 + serial, np.int32)
    ids[:n_prompt] = prompt
    return Ask(Encoding(ids, n_prompt), **terms)  # type: ignore[arg-type]


def scheduler(**settings_: float) -> Scheduler[Ask]:
    config = SchedulerConfig(ageing_s=AGEING_S, **settings_)  # type: ignore[arg-type]
    return Scheduler(config, BUDGET)


def unique_tokens(batch: list[Ask]) -> int:
    return pack([a.encoding for a in batch], "invariant").n_unique_tokens if batch else 0


def place(a: Ask) -> float:
    return a.entered - a.priority * AGEING_S


asks = st.builds(
    ask,
    prompt=st.integers(0, 2),
    n_prompt=st.integers(0, 60),
    n_response=st.integers(1, 80),
    serial=st.integers(0, 10**6),
    priority=st.integers(-2, 2),
    deadline=st.none() | st.floats(0, 60),
)


class Life(RuleBasedStateMachine):
    """Any history of adds, takes, cancellations and expiries."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.scheduler = scheduler(max_queued_tokens=LIMIT)
        self.waiting: list[Ask] = []
        self.gone: set[int] = set()
        self.kept: list[Ask] = []  # keeps ids from being used again

    @rule(new=st.lists(asks, min_size=1, max_size=6), later=st.floats(0, 5))
    def add(self, new: list[Ask], later: float) -> None:
        self.now += later
        for a in new:
            a.entered = self.now
        before = self.scheduler.queued_tokens
        try:
            self.scheduler.add(new, self.now)
        except Overloaded:
            assert self.waiting, "an empty queue takes any call"
            assert self.scheduler.queued_tokens == before
        else:
            ahead = not before or min(map(place, new)) < min(map(place, self.waiting))
            limit = LIMIT * 5 // 4 if ahead else LIMIT
            assert not self.waiting or self.scheduler.queued_tokens <= max(limit, before)
            self.waiting += new
            self.kept += new

    @rule(data=st.data())
    def take_with_held_prompts(self, data: st.DataObject) -> None:
        prompts = [p for a in self.waiting if (p := prompt_id(a.encoding)) is not None]
        self.take(data.draw(st.lists(st.sampled_from(prompts), max_size=3)) if prompts else ())

    @rule()
    def take_in_line(self) -> None:
        self.take()

    def take(self, held: Collection[int] = ()) -> None:
        expired = self.scheduler.expire(self.now)
        assert all(a.deadline is not None and a.deadline <= self.now for a in expired)
        self._leave(expired)
        first = min(self.waiting, key=place, default=None)
        following = self.scheduler.first()
        batch = self.scheduler.take(held)
        assert following is (batch[0] if batch else None)
        assert first is None or place(batch[0]) == place(first)
        assert len(batch) == 1 or unique_tokens(batch) <= BUDGET
        assert not any(a.deadline is not None and a.deadline <= self.now for a in batch)
        assert bool(batch) == bool(self.waiting)
        self._leave(batch)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.kept:
            victim = data.draw(st.sampled_from(self.kept))
            waits = any(a is victim for a in self.waiting)
            assert self.scheduler.cancel(victim) == waits
            if waits:
                self._leave([victim])

    def _leave(self, asks_: list[Ask]) -> None:
        for a in asks_:
            assert id(a) not in self.gone, "left twice"
            self.gone.add(id(a))
        self.waiting = [a for a in self.waiting if id(a) not in self.gone]

    @invariant()
    def the_queue_is_what_waits(self) -> None:
        assert len(self.scheduler) == len(self.waiting)
        prompts = {
            (a.encoding.prompt_len, int(a.encoding.input_ids[0])): a.encoding.prompt_len
            for a in self.waiting
            if a.encoding.prompt_len
        }
        own = sum(a.encoding.n_tokens - a.encoding.prompt_len for a in self.waiting)
        assert self.scheduler.queued_tokens == own + sum(prompts.values())

    def teardown(self) -> None:
        for _ in range(len(self.waiting)):
            self.take()
        assert self.scheduler.queued_tokens == len(self.scheduler) == 0


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def drain(s: Scheduler[Ask]) -> list[list[Ask]]:
    batches = []
    while batch := s.take():
        batches.append(batch)
    return batches


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


def test_what_has_left_is_not_kept_alive() -> None:
    s = scheduler()
    s.add([ask(1, 0, 60)], 0.0)
    gone = []
    for i in range(500):
        one = ask(2, 0, 60, i, deadline=1000.0, priority=-1)
        gone.append(weakref.ref(one.encoding.input_ids))
        s.add([one], 1.0)
        s.cancel(one)
    del one
    assert sum(ids() is not None for ids in gone) < 100


def test_a_level_of_priority_is_worth_its_seconds_of_waiting() -> None:
    s = scheduler()
    old = ask(1, 0, 90, priority=0)
    s.add([old], 0.0)
    urgent_in_time, urgent_too_late = ask(2, 0, 90, priority=1), ask(3, 0, 90, priority=1)
    s.add([urgent_in_time], AGEING_S - 1)
    s.add([urgent_too_late], AGEING_S + 1)
    assert drain(s) == [[urgent_in_time], [old], [urgent_too_late]]


def test_overloaded_says_when_to_come_back_and_admits_nothing() -> None:
    s = scheduler(max_queued_tokens=50)
    s.add([ask(1, 0, 500)], 0.0)
    with pytest.raises(Overloaded, match=r"retry in 4\.5 s") as raised:
        s.add([ask(2, 0, 1), ask(3, 0, 1)], 0.0, tokens_per_s=100.0)
    assert raised.value.retry_after_s == pytest.approx(4.52)
    assert len(s) == 1


def test_a_trickle_or_no_rate_at_all_never_means_hours() -> None:
    s = scheduler(max_queued_tokens=50)
    s.add([ask(1, 0, 5000)], 0.0)
    for rate in (0.0, 0.001, 1.0):
        with pytest.raises(Overloaded) as raised:
            s.add([ask(2, 0, 1)], 0.0, tokens_per_s=rate)
        assert 0 < raised.value.retry_after_s <= MAX_RETRY_AFTER_S


def test_what_stands_ahead_of_all_that_waits_gets_into_a_full_queue() -> None:
    s = scheduler(max_queued_tokens=100)
    s.add([ask(1, 0, 100)], 0.0)
    urgent, late = ask(2, 0, 20, priority=1), ask(3, 0, 20)
    with pytest.raises(Overloaded):
        s.add([late], 1.0)
    s.add([urgent], 1.0)
    with pytest.raises(Overloaded):
        s.add([ask(4, 0, 6, priority=5)], 1.0)
    assert s.take() == [urgent]


def test_an_add_that_fails_half_way_books_nothing_for_the_one_that_failed() -> None:
    s = scheduler()
    bad = ask(1, 0, 10, priority=10**400)
    with pytest.raises(OverflowError):
        s.add([bad], 0.0)
    assert s.queued_tokens == len(s) == 0


def test_without_sharing_every_prompt_is_paid_for() -> None:
    config = SchedulerConfig()
    s: Scheduler[Ask] = Scheduler(config, BUDGET, share_prompts=False)
    s.add([ask(1, 40, 10, i) for i in range(4)], 0.0)
    assert s.queued_tokens == 200
    assert [len(batch) for batch in drain(s)] == [2, 2]
