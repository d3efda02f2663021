"""Dispatch queue: batches on their way to a replica; retries, halves, and poison sequences.

A batch whose replica died is a suspect and runs alone on a replica from then on, because nobody can
tell which of two batches on a dead replica killed it. One that fails alone too often is split in
halves until the one sequence that kills replicas is left with its ScoringFailed; a sequence that
merely shared its batch is never blamed. Poison is remembered, since every try costs a replica.

Knows neither replicas nor the scheduler. Times are seconds on any one clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from cluster.errors import RewardError
from cluster.serving.batching.pending_requests import Key, QueuedSequence

POISON_S = 600.0
"""Seconds for which a sequence that killed its replicas is refused without another try."""
MAX_POISON = 10_000


@dataclass(eq=False, slots=True)
class DispatchUnit:
    """Sequences that go to a device together.

    failures: how often they were lost. on: replicas that hold a copy of them.
    waits: whether they are in the queue. done: whether a replica has answered them.
    """

    sequences: list[QueuedSequence]
    failures: int = 0
    on: set[str] = field(default_factory=set)
    waits: bool = False
    done: bool = False

    def wanted(self) -> list[QueuedSequence]:
        """Its sequences; those that nobody waits for any more are dropped from the unit."""
        self.sequences = [sequence for sequence in self.sequences if sequence.waiters]
        return self.sequences


class DispatchQueue:
    """Units to be sent again, before anything new."""

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._units: deque[DispatchUnit] = deque()

    def __bool__(self) -> bool:
        return bool(self._units)

    def next_for(self, replica_id: str) -> DispatchUnit | None:
        """Pop the first unit of which that replica holds no copy."""
        self._units = deque(unit for unit in self._units if not unit.done and unit.wanted())
        for unit in self._units:
            if replica_id not in unit.on:
                self._units.remove(unit)
                unit.waits = False
                return unit
        return None

    def put(self, unit: DispatchUnit) -> None:
        """Put the unit at the front, unless it is queued already or nobody wants it."""
        if not unit.waits and not unit.done and unit.wanted():
            unit.waits = True
            self._units.appendleft(unit)

    def failed(self, unit: DispatchUnit, certain: bool) -> QueuedSequence | None:
        """A copy was lost. certain: whether its own sequences are to blame.

        Returns the one sequence that has failed for good, if any; all others are queued again or on
        another replica.
        """
        if unit.on or unit.waits or unit.done:
            return None
        sequences = unit.wanted()
        if unit.failures < self._max_attempts or not certain:
            self.put(unit)
        elif len(sequences) > 1:
            half = len(sequences) // 2
            for part in (sequences[half:], sequences[:half]):
                self.put(DispatchUnit(part, max(1, self._max_attempts - 1)))
        elif sequences:
            return sequences[0]
        return None

    def clear(self) -> list[QueuedSequence]:
        """Remove and return everything that is queued."""
        sequences = [sequence for unit in self._units for sequence in unit.sequences]
        self._units.clear()
        return sequences


class Poison:
    """Sequences that killed every replica they ran on, and their errors."""

    def __init__(self) -> None:
        self._errors: OrderedDict[Key, tuple[float, RewardError]] = OrderedDict()

    def add(self, key: Key, error: RewardError, now: float) -> None:
        """Refuse `key` for the next `POISON_S`."""
        self._errors[key] = (now + POISON_S, error)
        self._errors.move_to_end(key)
        while len(self._errors) > MAX_POISON:
            self._errors.popitem(last=False)

    def error(self, key: Key, now: float) -> RewardError | None:
        """Why `key` is refused; None if it is not."""
        until, error = self._errors.get(key, (now, None))
        return error if now < until else None
