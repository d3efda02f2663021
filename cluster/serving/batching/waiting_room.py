"""Waiting room: calls in line for room in the queue, first by priority and age.

A pure object: no clock, no I/O, no asyncio. Invariants, each a property test:

- every call that enters leaves exactly once, and `tokens` is then 0;
- `first` is the one with the smallest place, among equals the one that came first; nothing
  overtakes it, so neither a large call nor an urgent one starves behind those that would fit.

A place is `Scheduler.place`: a level of priority is worth `ageing_s` of waiting.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Generic, Protocol, TypeVar

from cluster.errors import Overloaded


class Waiter(Protocol):
    """place: smaller is sooner. n_tokens: at entry."""

    @property
    def place(self) -> float: ...
    @property
    def n_tokens(self) -> int: ...


W = TypeVar("W", bound=Waiter)


class WaitingRoom(Generic[W]):
    """tokens: total of all that wait, as counted at entry."""

    def __init__(self, max_tokens: int) -> None:
        self.tokens = 0
        self._max_tokens = max_tokens
        self._line: list[tuple[float, int, W]] = []
        self._inside: set[int] = set()
        self._serial = count()

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, waiter: W) -> None:
        """Join the line. Raises Overloaded if the room would hold more than `max_tokens`."""
        if self._inside and self.tokens + waiter.n_tokens > self._max_tokens:
            raise Overloaded(
                f"calls of {self.tokens} tokens wait for room in the queue, and {waiter.n_tokens} "
                f"more exceed the {self._max_tokens} that may; send less at once"
            )
        heapq.heappush(self._line, (waiter.place, next(self._serial), waiter))
        self._inside.add(id(waiter))
        self.tokens += waiter.n_tokens

    def leave(self, waiter: W) -> bool:
        """Leave the line, admitted or not. Whether it was waiting."""
        if id(waiter) not in self._inside:
            return False
        self._inside.discard(id(waiter))
        self.tokens -= waiter.n_tokens
        if len(self._line) > 2 * len(self._inside) + 64:  # departed calls keep their ids alive
            self._line = [entry for entry in self._line if id(entry[2]) in self._inside]
            heapq.heapify(self._line)
        return True

    def first(self) -> W | None:
        """The first in line."""
        while self._line and id(self._line[0][2]) not in self._inside:
            heapq.heappop(self._line)
        return self._line[0][2] if self._line else None
