"""The sentences of the scheduler's docstring, each as a property; costs against real packing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cluster.config import SchedulerConfig
from cluster.engine.packing import pack
from cluster.errors import Overloaded
from cluster.serving.calls import sequence_key
from cluster.serving.scheduler import Cut, Request, Scheduler
from cluster.types import Encoding, Numerics

AGEING_S = 4.0
MIN_SHARED = 3
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def request(
    ids: Sequence[int],
    prompt_len: int = 0,
    *,
    priority: int = 0,
    deadline: float | None = None,
    arrived: float = 0.0,
) -> Request:
    encoding = Encoding(np.array(ids, np.int32), prompt_len)
    return Request(encoding, sequence_key(encoding), priority, deadline, arrived)


def answer(
    prompt: int, response: int, n_prompt: int = 10, n_response: int = 2, arrived: float = 0.0
) -> Request:
    """A response to a prompt; both are named by a number."""
    ids = [prompt] * n_prompt + [1000 + response] * n_response
    return request(ids, n_prompt, arrived=arrived)


def scheduler(
    token_budget: int = 32, limit: int = 10**9, numerics: Numerics = "invariant"
) -> Scheduler[Request]:
    config = SchedulerConfig(max_queued_tokens=limit, ageing_s=AGEING_S)
    return Scheduler(config, token_budget, numerics, MIN_SHARED)


def drain(queue: Scheduler[Request], now: float = 0.0) -> list[list[Request]]:
    cuts = []
    while requests := queue.cut(now).requests:
        cuts.append(requests)
    return cuts


def aged(one: Request, now: float) -> tuple[float, int]:
    """Greatest is first in line. Written as the docstring defines it, not as it is computed."""
    assert one.place is not None
    return one.priority + (now - one.arrived) / AGEING_S, -one.place[1]


def unique_tokens(requests: Sequence[Request]) -> int:
    """Of distinct sequences with equal prompts once, by brute force; `invariant` numerics."""
    prefixes: set[tuple[object, ...]] = set()
    for one in requests:
        ids, split = tuple(one.encoding.input_ids.tolist()), one.encoding.prompt_len
        ends = range(1, len(ids) + 1)
        if 0 < split < len(ids):
            prefixes |= {(split, ids[:end]) for end in ends if end <= split}
            prefixes |= {(split, ids[:split], ids[:end]) for end in ends if end > split}
        else:
            prefixes |= {(0, ids[:end]) for end in ends}
    return len(prefixes)


def sequences() -> st.SearchStrategy[tuple[list[int], int]]:
    """(ids, prompt_len) with prompts and whole sequences that repeat, and some over the budget."""
    prompts = st.sampled_from([[], [1], [1, 2], [1, 2, 3, 4, 5, 6], [7] * 9, [7] * 10, [8] * 30])
    responses = st.sampled_from([[1], [2], [3, 4], [5] * 6, [6] * 17, [9] * 40])
    return st.tuples(prompts, responses).map(lambda pair: (pair[0] + pair[1], len(pair[0])))


class Queue(RuleBasedStateMachine):
    """A scheduler beside a plain list of what should be waiting."""

    @initialize(
        numerics=st.sampled_from(["invariant", "fast", "reference"]),
        budget=st.sampled_from([1, 12, 32, 100]),
    )
    def start(self, numerics: Numerics, budget: int) -> None:
        self.numerics: Numerics = numerics
        self.budget = budget
        self.queue = scheduler(budget, numerics=numerics)
        self.now = 0.0
        self.waiting: list[Request] = []
        self.out: list[Request] = []
        self.left: list[Request] = []

    @rule(
        items=st.lists(sequences(), max_size=6),
        priority=st.integers(-3, 3),
        patience=st.none() | st.integers(0, 20),
    )
    def call(self, items: list[tuple[list[int], int]], priority: int, patience: int | None) -> None:
        deadline = None if patience is None else self.now + patience
        new = [
            request(ids, n, priority=priority, deadline=deadline, arrived=self.now)
            for ids, n in items
        ]
        self.queue.admit(new, self.now)
        self.waiting += new

    @rule(seconds=st.integers(0, 10))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def cut(self) -> None:
        alive = [r for r in self.waiting if r.deadline is None or r.deadline > self.now]
        cut = self.queue.cut(self.now)
        assert set(cut.requests) <= set(alive), "only what waits, and not in vain, is cut"
        assert len(set(cut.requests)) == len(cut.requests)
        if alive:
            assert max(alive, key=lambda r: aged(r, self.now)) in cut.requests
        self.check_cost(cut)
        self.waiting = [r for r in self.waiting if r not in cut.requests]
        self.out += cut.requests

    def check_cost(self, cut: Cut[Request]) -> None:
        encodings = [r.encoding for r in cut.requests]
        assert cut.n_tokens == sum(e.n_tokens for e in encodings)
        if not encodings:
            assert cut.n_unique_tokens == 0
            return
        packed = pack(encodings, self.numerics, MIN_SHARED).n_unique_tokens
        assert cut.n_unique_tokens == packed or (
            self.numerics == "fast" and packed < cut.n_unique_tokens
        )
        assert cut.n_unique_tokens <= self.budget or len({r.key for r in cut.requests}) == 1

    @rule()
    def expire(self) -> None:
        late = [r for r in self.waiting if r.deadline is not None and r.deadline <= self.now]
        expired = self.queue.expire(self.now)
        assert sorted(map(id, expired)) == sorted(map(id, late))
        self.waiting = [r for r in self.waiting if r not in late]
        self.left += late

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.waiting))
        if self.queue.cancel(one):
            self.waiting.remove(one)
            self.left.append(one)
        else:
            assert one.deadline is not None
            assert one.deadline <= self.now, "only what has expired can no longer be cancelled"

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        back = data.draw(st.lists(st.sampled_from(self.out), unique_by=id))
        self.queue.give_back(back)
        self.out = [r for r in self.out if r not in back]
        self.waiting += back

    @rule()
    def what_has_left_cannot_be_cancelled(self) -> None:
        assert not any(self.queue.cancel(r) for r in self.out + self.left)

    @invariant()
    def next_deadline_is_the_earliest(self) -> None:
        deadlines = [r.deadline for r in self.waiting if r.deadline is not None]
        assert self.queue.next_deadline() == (min(deadlines) if deadlines else None)

    @invariant()
    def queued_tokens_are_those_that_wait(self) -> None:
        in_line = [r for r in self.waiting if r.group is not None]
        assert self.queue.depth == len(in_line)
        assert (self.queue.queued_tokens == 0) == (not in_line)
        if self.numerics == "invariant" and len({r.key for r in in_line}) == len(in_line):
            assert self.queue.queued_tokens == unique_tokens(in_line)

    def teardown(self) -> None:
        self.expire()
        while self.waiting:
            self.cut()
        assert (self.queue.depth, self.queue.queued_tokens) == (0, 0)
        assert self.queue.cut(self.now).requests == []
        assert self.queue.expire(math.inf) == []


def test_every_request_leaves_once_in_order_and_within_the_budget() -> None:
    run_state_machine_as_test(
        Queue, settings=settings(CALM, max_examples=80, stateful_step_count=40)
    )


@CALM
@given(
    ahead=st.lists(st.integers(1, 8), max_size=30),
    own=st.integers(1, 8),
    flood=st.lists(st.integers(0, 12), min_size=1, max_size=5),
)
def test_a_flood_of_one_prompt_at_most_doubles_the_cuts_that_others_wait_for(
    ahead: list[int], own: int, flood: list[int]
) -> None:
    budget, largest = 64, 8
    queue = scheduler(budget)
    numbers = iter(range(10**6))

    def flooding(now: float) -> list[Request]:
        n = flood[int(now) % len(flood)]
        return [answer(7, next(numbers), 4, 2, arrived=now) for _ in range(n)]

    others = [request([2000 + i] * n) for i, n in enumerate([*ahead, own])]
    queue.admit([*flooding(0), *others], 0)
    line = queue.queued_tokens
    bound = math.ceil(line / (budget / 2 - largest)) + 1
    for n_cuts in range(1, bound + 1):
        if others[-1] in queue.cut(n_cuts).requests:
            return
        queue.admit(flooding(n_cuts), n_cuts)
    pytest.fail(f"still waiting after {bound} cuts with {line} tokens in line")


@CALM
@given(gap=st.integers(1, 5), later=st.integers(0, 100))
def test_nothing_that_comes_later_than_ageing_allows_goes_before(gap: int, later: int) -> None:
    queue = scheduler(token_budget=4)
    patient = request([1] * 4)
    urgent = request([2] * 4, priority=gap, arrived=later)
    queue.admit([patient], 0)
    queue.admit([urgent], later)
    first = urgent if later < gap * AGEING_S else patient
    assert queue.cut(later).requests == [first]


def test_a_low_priority_is_reached_under_an_endless_stream_of_higher_ones() -> None:
    queue = scheduler(token_budget=4)
    patient = request([1] * 4, priority=-2)
    queue.admit([patient], 0)
    for now in range(1000):
        queue.admit([request([2 + now] * 4, arrived=now)], now)
        if patient in queue.cut(now).requests:
            assert now <= 2 * AGEING_S
            return
    pytest.fail("starved")


def test_responses_to_one_prompt_go_together_whatever_calls_they_came_in() -> None:
    queue = scheduler(token_budget=64)
    early, between, late = answer(1, 1), answer(2, 1), answer(1, 2, arrived=1)
    others = [answer(10 + i, 1) for i in range(10)]
    for one in (early, between, *others):
        queue.admit([one], 0)
    queue.admit([late], 1)
    cut = queue.cut(1)
    assert {early, late, between} <= set(cut.requests)
    assert cut.n_tokens - cut.n_unique_tokens == 10


def test_copies_cost_nothing_and_go_together() -> None:
    queue = scheduler(token_budget=8)
    copies = [request([5] * 8, priority=i) for i in range(3)]
    queue.admit(copies, 0)
    assert queue.queued_tokens == 8
    cut = queue.cut(0)
    assert set(cut.requests) == set(copies)
    assert (cut.n_tokens, cut.n_unique_tokens) == (24, 8)


def test_a_request_over_the_budget_goes_alone_and_first_comes_first() -> None:
    queue = scheduler(token_budget=8)
    small, huge, last = request([1] * 4), request([2] * 50), request([3] * 4)
    queue.admit([small, huge, last], 0)
    assert drain(queue) == [[small, last], [huge]]


def test_what_does_not_fit_is_looked_past_once_and_is_first_in_the_next_cut() -> None:
    queue = scheduler(token_budget=10)
    six, five, four, three = (request([i] * i) for i in (6, 5, 4, 3))
    queue.admit([six, five, four, three], 0)
    assert drain(queue) == [[six, four], [five, three]]


def test_a_batch_that_comes_back_is_the_next_batch() -> None:
    queue = scheduler(token_budget=8)
    queue.admit([request([i] * 4) for i in range(6)], 0)
    first = queue.cut(0).requests
    second = queue.cut(0).requests
    queue.give_back(second)
    queue.give_back(first)
    queue.admit([request([9] * 4, arrived=1)], 1)
    assert drain(queue)[:2] == [first, second]


def test_reference_numerics_share_no_prompts() -> None:
    queue = scheduler(token_budget=32, numerics="reference")
    queue.admit([answer(1, i) for i in range(4)], 0)
    assert queue.queued_tokens == 48
    assert [len(cut) for cut in drain(queue)] == [2, 2]


def test_a_call_that_does_not_fit_is_refused_whole_with_the_time_to_wait() -> None:
    queue = scheduler(token_budget=10, limit=40)
    queue.admit([request([i] * 10) for i in range(4)], 0)
    with pytest.raises(Overloaded):
        queue.admit([request([8] * 5), request([9] * 6)], 0)
    assert (queue.depth, queue.queued_tokens) == (4, 40)
    for now in (2, 4):  # 10 tokens in 2 seconds
        queue.cut(now)
    with pytest.raises(Overloaded) as refused:
        queue.admit([request([8] * 22)], 4)
    assert refused.value.retry_after_s == pytest.approx(0.4)


def test_shared_prompts_count_once_for_admission() -> None:
    queue = scheduler(limit=20)
    queue.admit([answer(1, 1), answer(1, 2)], 0)
    queue.admit([answer(1, 3), answer(1, 4), answer(1, 5)], 0)
    assert queue.queued_tokens == 20
    with pytest.raises(Overloaded):
        queue.admit([answer(1, 6)], 0)


def test_an_empty_queue_takes_any_call() -> None:
    queue = scheduler(limit=1)
    queue.admit([request([1] * 50), request([2] * 50)], 0)
    assert queue.depth == 2


def test_idle_time_is_not_mistaken_for_slow_devices() -> None:
    queue = scheduler(token_budget=10, limit=20)
    for start in (0, 1000):
        queue.admit([request([start + i] * 10, arrived=start) for i in range(2)], start)
        queue.cut(start)
        queue.cut(start + 1)
    queue.admit([request([5] * 20)], 2000)
    with pytest.raises(Overloaded) as refused:
        queue.admit([request([6] * 20)], 2000)
    assert refused.value.retry_after_s == pytest.approx(2.0)


def test_what_has_left_leaves_nothing_behind() -> None:
    queue = scheduler(token_budget=10)
    stays = answer(1, 0)
    queue.admit([stays], 0)
    for i in range(1, 2000):
        one = request([1] * 10 + [1000 + i], 10, deadline=10.0 + i, priority=i % 3)
        queue.admit([one], 0)
        assert queue.cancel(one)
    line = queue._line
    assert len(line._heap) + len(line._groups) + len(queue._deadlines) < 300
    assert stays.group is not None
    assert len(stays.group.members) < 100
