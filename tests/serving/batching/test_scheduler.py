"""The scheduler's queue: who gets in, who is first in line, and that each leaves once."""

from __future__ import annotations

import weakref
from collections.abc import Collection

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.scheduling import AGEING_S, BUDGET, Ask, ask, drain, scheduler, unique_tokens

from cluster.errors import MAX_RETRY_AFTER_S, Overloaded
from cluster.serving.batching.prefix_affinity import prompt_id

LIMIT = 1500


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
