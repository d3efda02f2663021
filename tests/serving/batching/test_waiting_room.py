"""The waiting room's invariants, over any history."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.errors import Overloaded
from cluster.serving.batching.waiting_room import WaitingRoom

LIMIT = 100


@dataclass(eq=False)
class Guest:
    place: float
    n_tokens: int


class Life(RuleBasedStateMachine):
    """Any history of coming and going."""

    def __init__(self) -> None:
        super().__init__()
        self.room: WaitingRoom[Guest] = WaitingRoom(LIMIT)
        self.inside: list[Guest] = []
        self.gone: list[Guest] = []

    @rule(place=st.integers(0, 5), n_tokens=st.integers(0, 60))
    def enter(self, place: int, n_tokens: int) -> None:
        guest = Guest(place, n_tokens)
        full = bool(self.inside) and self.room.tokens + n_tokens > LIMIT
        if full:
            with pytest.raises(Overloaded):
                self.room.enter(guest)
        else:
            self.room.enter(guest)
            self.inside.append(guest)

    @rule()
    def let_the_first_in(self) -> None:
        first = self.room.first()
        if first is not None:
            self._leave(first)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        if self.inside:
            self._leave(data.draw(st.sampled_from(self.inside)))
        if self.gone:
            assert not self.room.leave(data.draw(st.sampled_from(self.gone)))

    def _leave(self, guest: Guest) -> None:
        assert self.room.leave(guest)
        self.inside.remove(guest)
        self.gone.append(guest)

    @invariant()
    def the_first_has_the_best_place_and_came_first_of_its_equals(self) -> None:
        assert self.room.first() is min(self.inside, key=lambda guest: guest.place, default=None)
        assert len(self.room) == len(self.inside)
        assert self.room.tokens == sum(guest.n_tokens for guest in self.inside)

    def teardown(self) -> None:
        while self.inside:
            self.let_the_first_in()
        assert self.room.tokens == len(self.room) == 0
        assert self.room.first() is None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_who_has_left_is_not_kept_alive() -> None:
    room: WaitingRoom[Guest] = WaitingRoom(LIMIT)
    first = Guest(0, 1)
    room.enter(first)
    gone = []
    for i in range(500):
        guest = Guest(1 + i, 1)
        gone.append(weakref.ref(guest))
        room.enter(guest)
        room.leave(guest)
    del guest
    assert sum(ref() is not None for ref in gone) < 100
    assert room.first() is first
