"""Who gets into the queue, and when; no replicas, no clock."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.config import SchedulerConfig
from cluster.errors import InvalidInput, Overloaded
from cluster.serving.batching.admission import Admission
from cluster.serving.batching.pending_requests import PendingCall, QueuedSequence, RequestTable
from cluster.serving.batching.scheduler import Scheduler
from cluster.serving.protocol import ItemResult, Source
from cluster.types import Encoding

LIMIT = 400
BUDGET = 100
AGEING_S = 10.0
REWARD = ItemResult(1.0, 0.0, 0.0, Source("m", "r", "invariant"), "load")


class Door:
    """An admission with its queue; `serve` stands for the replicas."""

    def __init__(self, limit: int = LIMIT) -> None:
        config = SchedulerConfig(max_queued_tokens=limit, ageing_s=AGEING_S)
        self.scheduler: Scheduler[QueuedSequence] = Scheduler(config, BUDGET)
        self.table = RequestTable(dedupe_s=0.0)
        self.admission = Admission(config, self.scheduler, self.table)
        self.now = 0.0
        self._serial = 0

    def ask(self, *n_tokens: int, priority: int = 0, wait: bool = True) -> PendingCall:
        """A call of items of these lengths, no two alike."""
        items = {}
        for i, n in enumerate(n_tokens):
            self._serial += 1
            items[i] = Encoding(np.full(n, self._serial, np.int32))
        return self.enter(items, priority, wait)

    def enter(
        self, items: Mapping[int, Encoding], priority: int = 0, wait: bool = True
    ) -> PendingCall:
        call = PendingCall(len(items), None, self.now)
        self.admission.enter(call, items, priority, self.now, wait=wait)
        return call

    def serve(self) -> list[QueuedSequence]:
        """One batch, answered."""
        self.admission.refill(self.now)
        batch = self.scheduler.take()
        self.admission.refill(self.now)
        for sequence in batch:
            self.table.settle(sequence, REWARD, self.now)
        return batch

    def drain(self) -> None:
        while self.serve():
            pass


def is_answered(call: PendingCall) -> bool:
    return all(result is not None for result in call.results)


class Life(RuleBasedStateMachine):
    """Any history of calls, batches and callers that leave."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Door()
        self.open: list[PendingCall] = []

    @rule(
        lengths=st.lists(st.integers(1, 250), min_size=1, max_size=8),
        priority=st.integers(-2, 2),
        wait=st.booleans(),
        later=st.floats(0, 5),
    )
    def ask(self, lengths: list[int], priority: int, wait: bool, later: float) -> None:
        self.door.now += later
        before = self.door.scheduler.queued_tokens
        try:
            self.open.append(self.door.ask(*lengths, priority=priority, wait=wait))
        except Overloaded:
            assert not wait
            assert before, "an empty queue takes any call"
            assert self.door.scheduler.queued_tokens == before

    @rule()
    def serve(self) -> None:
        waited = self.door.admission.waiting_tokens + self.door.scheduler.queued_tokens
        assert bool(self.door.serve()) == bool(waited)
        for call in [call for call in self.open if is_answered(call)]:
            self.open.remove(call)
            self.door.admission.leave(call)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        if self.open:
            call = data.draw(st.sampled_from(self.open))
            self.open.remove(call)
            self.door.admission.leave(call)
            self.door.admission.refill(self.door.now)

    @invariant()
    def nobody_stands_in_line_beside_an_empty_queue(self) -> None:
        if self.door.admission.waiting_tokens:
            assert self.door.scheduler.queued_tokens

    @invariant()
    def the_queue_keeps_to_its_limit_or_is_one_item(self) -> None:
        assert len(self.door.scheduler) <= 1 or self.door.scheduler.queued_tokens <= LIMIT * 5 // 4

    @invariant()
    def each_item_of_an_open_call_is_answered_queued_or_in_line_once(self) -> None:
        missing = sum(result is None for call in self.open for result in call.results)
        in_line = sum(len(waiting.left) for waiting in self.door.admission._waiting.values())
        assert missing == len(self.door.scheduler) + in_line

    def teardown(self) -> None:
        self.door.drain()
        assert all(is_answered(call) for call in self.open)
        assert self.door.scheduler.queued_tokens == self.door.admission.waiting_tokens == 0
        assert not self.door.admission._waiting


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(large=st.integers(LIMIT // 2, 5 * LIMIT), overload=st.integers(1, 40))
@settings(max_examples=25)
def test_a_large_call_gets_in_beside_an_endless_overload_of_small_ones(
    large: int, overload: int
) -> None:
    door = Door()
    for _ in range(20):
        door.ask(50)
    call = door.ask(*[10] * (large // 10))
    waited = door.scheduler.queued_tokens + door.admission.waiting_tokens
    for _ in range(2 + waited // (BUDGET - 50)):
        door.now += 0.01
        with contextlib.suppress(Overloaded):  # the line is bounded too
            for _ in range(overload):
                door.ask(50)
        door.serve()
        if is_answered(call):
            return
    pytest.fail("still waiting when everything before it has been served")


def test_an_urgent_call_is_first_at_the_door_and_gets_into_a_full_queue() -> None:
    door = Door()
    for _ in range(20):
        door.ask(100)
    assert door.scheduler.queued_tokens == LIMIT
    door.now += 1
    patient, impatient = door.ask(40, priority=5), door.ask(40, priority=1000, wait=False)
    door.serve()
    assert is_answered(impatient)
    door.serve()
    assert is_answered(patient)


def test_one_that_does_not_wait_is_refused_behind_those_who_do() -> None:
    door = Door()
    door.ask(*[100] * 4)
    door.ask(*[100] * 3)
    door.scheduler.take()
    with pytest.raises(Overloaded, match="300 tokens are waiting for room"):
        door.ask(1, wait=False)


def test_one_that_does_not_wait_is_let_in_whole_or_refused_whole() -> None:
    door = Door()
    call = door.ask(*[50] * 40, wait=False)
    assert door.scheduler.queued_tokens == LIMIT
    with pytest.raises(Overloaded):
        door.ask(*[50] * 4, wait=False)
    door.drain()
    assert is_answered(call)


def test_a_retry_finds_its_sequences_in_a_full_queue() -> None:
    door = Door()
    items = {i: Encoding(np.full(100, i, np.int32)) for i in range(4)}
    first = door.enter(items)
    retry = door.enter(items, wait=False)
    door.drain()
    assert is_answered(first)
    assert is_answered(retry)


def test_an_item_without_tokens_is_the_error_of_that_item() -> None:
    door = Door()
    call = door.enter({0: Encoding(np.ones(3, np.int32)), 1: Encoding(np.zeros(0, np.int32))})
    door.drain()
    assert call.results[0] is not None
    assert not isinstance(call.results[0], InvalidInput)
    assert isinstance(call.results[1], InvalidInput)
    assert call.results[1].item == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken")])
@pytest.mark.parametrize("wait", [True, False])
def test_what_enter_began_is_undone_whatever_breaks_it(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, wait: bool
) -> None:
    door = Door()
    original, n_entered = door.scheduler._enter, 0

    def breaks(*args: Any) -> None:
        nonlocal n_entered
        n_entered += 1
        if n_entered == 2:
            raise error
        original(*args)

    monkeypatch.setattr(door.scheduler, "_enter", breaks)
    with pytest.raises(type(error)):
        door.ask(10, 10, 10, wait=wait)
    assert door.scheduler.queued_tokens == len(door.scheduler) == 0
    assert door.admission.waiting_tokens == len(door.table._open) == 0
    innocent = door.ask(10, 10)
    door.drain()
    assert is_answered(innocent)
