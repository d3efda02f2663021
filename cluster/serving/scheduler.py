"""Which sequences go to a device next. A pure object: no clock, no I/O, `now` is passed in.

Invariants:
- every admitted request leaves exactly once: in a cut, expired or cancelled;
- a cut's tokens, prompts that its requests share counted once, stay within the token budget; a
  request that alone is longer goes alone, with its exact copies;
- the first in line is in the next cut. First is who has the best aged priority, and the oldest
  among equals;
- what is expired or cancelled is in no cut, and `queued_tokens` is zero when nothing waits.

Ageing: a request gains one priority level for each `ageing_s` seconds it waits, so its priority
at time t is priority + (t - arrived) / ageing_s. All grow equally fast: the order of two requests
never changes, and the static key arrived - priority * ageing_s makes the whole line.

Grouping: requests that share their prompt, from whatever calls, go together, because the prompt
is then computed once. Of each cut at most half the budget may jump the line for that, so a flood
of one prompt at most doubles the cuts that anybody waits for.

Costs are exact for `invariant` and `reference` numerics and an upper bound for `fast`, which may
find more to share than whole prompts (`line.sharing`). Knows no asyncio, no replicas and nobody
who waits.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from cluster.config import SchedulerConfig
from cluster.errors import Overloaded
from cluster.serving.drain import DrainRate
from cluster.serving.line import Group, GroupKey, Line, Place, R, Request
from cluster.types import Numerics

__all__ = ["Cut", "Request", "Scheduler"]

JUMP_SHARE = 0.5
"""Of a cut's budget: what may go ahead of its place in line to join its group."""
LOOK_PAST = 16
"""How many groups whose next request does not fit are looked past to fill a cut."""


@dataclass(frozen=True, slots=True)
class Cut(Generic[R]):
    """The requests of one batch; empty where nothing waits.

    n_tokens: of all its sequences.  n_unique_tokens: with shared prompts and equal sequences
    counted once; what the forward computes.
    """

    requests: list[R]
    n_tokens: int
    n_unique_tokens: int


class Scheduler(Generic[R]):
    """The queue. `R` is `Request` or a subclass that carries what its owner needs.

    A request object is admitted once; only `give_back` returns one that was cut.
    """

    def __init__(
        self,
        config: SchedulerConfig,
        token_budget: int,
        numerics: Numerics,
        min_shared_tokens: int,
    ) -> None:
        """The last three as in EngineConfig."""
        self._config = config
        self._token_budget = token_budget
        self._line: Line[R] = Line(numerics, min_shared_tokens)
        self._deadlines: list[tuple[float, int, R]] = []
        self._expired: list[R] = []
        self._count = itertools.count()
        self._drain = DrainRate()

    @property
    def depth(self) -> int:
        """Requests waiting."""
        return self._line.depth

    @property
    def queued_tokens(self) -> int:
        """Unique tokens waiting: the work, each waiting group's prompt counted once."""
        return self._line.n_tokens

    def admit(self, requests: Sequence[R], now: float) -> None:
        """Put all `requests` of a call in line, or none.

        Raises Overloaded where they do not fit in `max_queued_tokens`, with the seconds after
        which they are expected to. An empty queue takes any call, so none is refused for ever.
        """
        groups = [self._line.sharing(request) for request in requests]
        excess = self.queued_tokens + self._added(requests, groups) - self._config.max_queued_tokens
        if excess > 0 and self.depth:
            seconds = self._drain.seconds_for(min(excess, self.queued_tokens))
            raise Overloaded(
                f"{self.queued_tokens} tokens are waiting, of {self._config.max_queued_tokens} "
                f"allowed; try again in {seconds:.1f} s",
                retry_after_s=seconds,
            )
        if not self.depth:
            self._drain.idle()
        for request, (key, shared) in zip(requests, groups, strict=True):
            place = (request.arrived - request.priority * self._config.ageing_s, next(self._count))
            self._enter(request, place, key, shared)

    def cut(self, now: float) -> Cut[R]:
        """Take the next batch out of the line. What has expired by `now` is left to `expire`."""
        self._drop_expired(now)
        filling = _Filling(self._line, self._token_budget)
        filling.run()
        self._drain.cut(filling.n_unique_tokens, now, more_waits=self.depth > 0)
        return Cut(filling.taken, filling.n_tokens, filling.n_unique_tokens)

    def expire(self, now: float) -> list[R]:
        """Take out, once, all whose deadline is at or before `now`."""
        self._drop_expired(now)
        expired, self._expired = self._expired, []
        return expired

    def next_deadline(self) -> float | None:
        """The earliest deadline in line: when to call `expire`."""
        if self._expired:
            return self._expired[0].deadline
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].group is None:
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def cancel(self, request: R) -> bool:
        """Take out a request that nobody waits for. False where it is not in line (any more)."""
        if request.group is None:
            return False
        self._line.remove(request)
        return True

    def give_back(self, requests: Iterable[R]) -> None:
        """Requests of a cut that was not run return to the places they had. Always admitted."""
        for request in requests:
            assert request.place is not None, "only what was cut is given back"
            assert request.group is None, "it is in line already"
            self._enter(request, request.place, *self._line.sharing(request))

    def _enter(self, request: R, place: Place, key: GroupKey, shared: int) -> None:
        self._line.push(request, place, key, shared)
        if request.deadline is not None:
            heapq.heappush(self._deadlines, (request.deadline, next(self._count), request))
            if len(self._deadlines) > 2 * self.depth + 64:
                self._tidy_deadlines()

    def _added(self, requests: Sequence[R], groups: Sequence[tuple[GroupKey, int]]) -> int:
        """Unique tokens that `requests` would add to the queue."""
        new: set[GroupKey] = set()
        total = 0
        for request, (key, shared) in zip(requests, groups, strict=True):
            total += request.n_tokens
            if key in new or key in self._line:
                total -= shared
            else:
                new.add(key)
        return total

    def _drop_expired(self, now: float) -> None:
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            request = heapq.heappop(deadlines)[2]
            if request.group is not None:
                self._line.remove(request)
                self._expired.append(request)

    def _tidy_deadlines(self) -> None:
        kept = {id(entry[2]): entry for entry in self._deadlines if entry[2].group is not None}
        self._deadlines = list(kept.values())
        heapq.heapify(self._deadlines)


class _Filling(Generic[R]):
    """One cut in the making: line order, each group's mates pulled in as far as they may jump."""

    def __init__(self, line: Line[R], token_budget: int) -> None:
        self.taken: list[R] = []
        self.n_tokens = 0
        self.n_unique_tokens = 0
        self._line = line
        self._room = token_budget
        self._may_jump = int(token_budget * JUMP_SHARE)
        self._opened: dict[Group[R], set[bytes]] = {}

    def run(self) -> None:
        line, aside = self._line, list[Group[R]]()
        while len(aside) < LOOK_PAST and (request := line.first()) is not None:
            group = request.group
            assert group is not None, "what is in line has a group"
            keys = self._opened.get(group)
            cost = _cost(request, keys, group.shared)
            if self.taken and cost > self._room:
                aside.append(line.set_aside())
            elif keys is not None:
                self._take(request, keys, cost)
            else:
                keys = self._opened[group] = set()
                self._take(request, keys, cost)
                self._pull_mates(group, keys)
        line.restore(aside)

    def _pull_mates(self, group: Group[R], keys: set[bytes]) -> None:
        """Take the group's next ones ahead of their place, while they fit and may jump."""
        while (mate := group.first()) is not None:
            cost = _cost(mate, keys, group.shared)
            if cost > self._may_jump or cost > self._room:
                break
            self._may_jump -= cost
            self._take(mate, keys, cost)

    def _take(self, request: R, keys: set[bytes], cost: int) -> None:
        self._line.remove(request)
        keys.add(request.key)
        self.taken.append(request)
        self.n_tokens += request.n_tokens
        self.n_unique_tokens += cost
        self._room = max(0, self._room - cost)


def _cost(request: Request, keys: set[bytes] | None, shared: int) -> int:
    """Unique tokens that a request adds. keys: of its group in this cut already, if any."""
    if keys is None:
        return request.n_tokens
    return 0 if request.key in keys else request.n_tokens - shared
