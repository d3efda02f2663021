"""Admission control: which calls get into the queue, and when.

A call that the queue has no room for waits in line (`waiting_room`) and is admitted piece by piece
as room becomes free, in order of priority and age. A call that does not want to wait is refused if
there is no room for its first piece, or if others are waiting before it; once its first piece is
admitted, the rest is treated like any other's. `enter` is undone on any exception.

Knows neither replicas nor clocks: `now` is passed in, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cluster.config import SchedulerConfig
from cluster.errors import InvalidInput, Overloaded
from cluster.serving.batching.pending_requests import PendingCall, QueuedSequence, RequestTable
from cluster.serving.batching.scheduler import Scheduler
from cluster.serving.batching.waiting_room import WaitingRoom
from cluster.types import Encoding

WAITING_SHARE = 64
"""Tokens that may wait in line, as a multiple of the queue's: 1 GB of ids by default."""


@dataclass(eq=False, slots=True)
class Waiting:
    """A call that waits in line. left: its items that are not in the queue yet, by index."""

    call: PendingCall
    priority: int
    place: float
    n_tokens: int
    left: deque[tuple[int, Encoding]]


class Admission:
    """Admission to one scheduler. waiting_tokens: tokens that wait in line, not yet in the
    queue."""

    def __init__(
        self, config: SchedulerConfig, scheduler: Scheduler[QueuedSequence], table: RequestTable
    ) -> None:
        self._scheduler = scheduler
        self._table = table
        self._room: WaitingRoom[Waiting] = WaitingRoom(WAITING_SHARE * config.max_queued_tokens)
        self._waiting: dict[int, Waiting] = {}
        self._first_tokens = max(1, config.max_queued_tokens // 4)
        self.waiting_tokens = 0

    def enter(
        self,
        call: PendingCall,
        items: Mapping[int, Encoding],
        priority: int,
        now: float,
        *,
        wait: bool,
        tokens_per_s: float = 0.0,
    ) -> None:
        """Admit the call, now or when its turn comes. tokens_per_s: how fast the queue drains.

        wait: wait in line even for the first item. Raises Overloaded if it is refused.
        """
        place = self._scheduler.place(priority, call.entered)
        left = deque(_sound(call, items))
        try:
            if not wait:
                first = _pop(left, self._first_tokens, at_least_one=True)
                new = self._table.enter(call, first, priority, now)
                if new:
                    self._refuse_behind_others(place)
                self._scheduler.add(new, call.entered, tokens_per_s)
            if left:
                self._stand_in_line(Waiting(call, priority, place, _n_tokens(left), left))
            self.refill(now)
        except BaseException:
            self.leave(call)
            raise

    def refill(self, now: float) -> None:
        """Admit as much of the first calls in line as there is room for."""
        while (first := self._room.first()) is not None:
            while piece := self._piece(first):
                new = self._table.enter(first.call, piece, first.priority, now)
                self._scheduler.add(new, first.call.entered)
            if first.left:
                return
            self._forget(first)

    def leave(self, call: PendingCall) -> None:
        """The call has ended, answered or abandoned: none of its items wait any longer."""
        waiting = self._waiting.get(id(call))
        if waiting is not None:
            self._forget(waiting)
        for sequence in self._table.leave(call):
            if not self._scheduler.cancel(sequence) and sequence.sent is not None:
                self._table.keep(sequence)

    def _piece(self, waiting: Waiting) -> dict[int, Encoding]:
        """The next items for which there is room; at least one if nothing else is queued.

        Tokens are counted without what the items share with others, so that they are sure to fit.
        """
        room = self._scheduler.room(waiting.place)
        piece = _pop(waiting.left, room, at_least_one=not len(self._scheduler))
        self.waiting_tokens -= _n_tokens(piece.items())
        return piece

    def _refuse_behind_others(self, place: float) -> None:
        first = self._room.first()
        if first is not None and first.place <= place:
            raise Overloaded(
                f"calls of {self.waiting_tokens} tokens are waiting for room in the queue; retry, "
                "or send less at once"
            )

    def _stand_in_line(self, waiting: Waiting) -> None:
        self._room.enter(waiting)
        self._waiting[id(waiting.call)] = waiting
        self.waiting_tokens += waiting.n_tokens

    def _forget(self, waiting: Waiting) -> None:
        self._room.leave(waiting)
        del self._waiting[id(waiting.call)]
        self.waiting_tokens -= _n_tokens(waiting.left)
        waiting.left.clear()


def _sound(call: PendingCall, items: Mapping[int, Encoding]) -> Iterator[tuple[int, Encoding]]:
    """The items that can be scored; the others get their error here."""
    for i, encoding in items.items():
        if encoding.n_tokens:
            yield i, encoding
        else:
            call.put(i, InvalidInput("the item has no tokens; give at least one id", i))


def _pop(
    left: deque[tuple[int, Encoding]], room: int, *, at_least_one: bool
) -> dict[int, Encoding]:
    """The next items of at most `room` tokens together; they leave `left`."""
    piece: dict[int, Encoding] = {}
    while left and (left[0][1].n_tokens <= room or (at_least_one and not piece)):
        i, encoding = left.popleft()
        piece[i] = encoding
        room -= encoding.n_tokens
    return piece


def _n_tokens(items: Iterable[tuple[int, Encoding]]) -> int:
    return sum(encoding.n_tokens for _, encoding in items)
