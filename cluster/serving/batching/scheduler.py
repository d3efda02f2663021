"""Request scheduler: token budget, priority ageing, deadlines, shared prompts.

A pure object: no clock, no I/O, no asyncio; `now` is passed in, in seconds. Invariants, each a
property test:

- what is added leaves exactly once: taken, expired or cancelled, and `queued_tokens` is then 0;
- a batch's cost, each prompt counted once, stays within the token budget, or it is one request;
- the first request in line is in the next batch, and at least half of a batch's budget goes in
  order of the line; the rest may go to requests further back whose prompt is already in the batch
  or known to be on the device. A request that does not fit keeps its place, and a few behind it are
  considered to fill the batch;
- what has expired or been cancelled is never in a batch;
- no more than `max_queued_tokens` wait, or a quarter more for a request that would be first in
  line, so that urgent work is admitted however full the queue is. An empty queue takes any call.

The line: a request gains one priority level per `ageing_s` of waiting, so its place is `entered -
priority x ageing_s`. All requests age alike, so their order never changes and a plain heap keeps
it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeVar

from cluster.config import SchedulerConfig
from cluster.errors import MAX_RETRY_AFTER_S, Overloaded
from cluster.serving.batching.prefix_affinity import Prompt, prompt_id
from cluster.types import Encoding


class Request(Protocol):
    """What the scheduler reads. priority: higher is sooner. deadline: None means no deadline."""

    @property
    def encoding(self) -> Encoding: ...
    @property
    def priority(self) -> int: ...
    @property
    def deadline(self) -> float | None: ...


R = TypeVar("R", bound=Request)
LOOK_PAST = 16
"""A batch counts as full after this many requests that do not fit. Measured on long-tailed lengths
(mean 1.5k tokens, budget 16k): batches are 99% full, against 92% if the first that does not fit
ends a batch."""


@dataclass(eq=False, slots=True)
class _Entry(Generic[R]):
    """A waiting request. serial: order of arrival. own_tokens: without its prompt."""

    request: R
    serial: int
    prompt: Prompt
    prompt_tokens: int
    own_tokens: int
    waiting: bool = True


@dataclass(eq=False, slots=True)
class _Cut(Generic[R]):
    """A batch being cut. room: tokens left. ahead: how many of them may go out of turn."""

    room: int
    ahead: int
    batch: list[R] = field(default_factory=list)
    prompts: set[Prompt] = field(default_factory=set)

    def cost(self, entry: _Entry[R]) -> int:
        """Tokens that `entry` would add."""
        opens = entry.prompt not in self.prompts
        return entry.own_tokens + (entry.prompt_tokens if opens else 0)

    def add(self, entry: _Entry[R]) -> None:
        self.room -= self.cost(entry)
        self.prompts.add(entry.prompt)
        self.batch.append(entry.request)


class Scheduler(Generic[R]):
    """Requests in, batches out. `queued_tokens`: unique tokens waiting, prompts counted once."""

    def __init__(
        self, config: SchedulerConfig, token_budget: int, share_prompts: bool = True
    ) -> None:
        self.queued_tokens = 0
        self._config = config
        self._budget = token_budget
        self._share_prompts = share_prompts
        self._entries: dict[int, _Entry[R]] = {}
        self._groups: dict[Prompt, dict[int, _Entry[R]]] = {}
        self._line: list[tuple[float, int, _Entry[R]]] = []
        self._deadlines: list[tuple[float, int, _Entry[R]]] = []
        self._serial = count()

    def __len__(self) -> int:
        return len(self._entries)

    def place(self, priority: int, entered: float) -> float:
        """Place in line of a request that entered then; smaller is sooner."""
        return entered - priority * self._config.ageing_s

    def room(self, place: float) -> int:
        """Tokens that a call with this place may add now; negative if too many wait already."""
        limit = self._config.max_queued_tokens
        if self._first() is not None and place < self._line[0][0]:
            limit += limit // 4
        return limit - self.queued_tokens

    def add(self, requests: Sequence[R], entered: float, tokens_per_s: float = 0.0) -> None:
        """Put `requests` in line. tokens_per_s: how fast the replicas drain it, 0 if unknown.

        All or nothing: if there is no room now, raises Overloaded with the seconds until there
        should be.
        """
        entries = [self._entry(request) for request in requests]
        more = self._cost(entries, self._groups)
        place = min((self.place(r.priority, entered) for r in requests), default=0.0)
        over = more - self.room(place)
        if self._entries and more and over > 0:
            drained = over / tokens_per_s if tokens_per_s > 0 else 1.0
            wait = min(MAX_RETRY_AFTER_S, drained)
            raise Overloaded(
                f"{self.queued_tokens} tokens are waiting and {more} more exceed the queue's "
                f"{self._config.max_queued_tokens}; retry in {wait:.1f} s, or send less at once",
                retry_after_s=wait,
            )
        for entry in entries:
            self._enter(entry, entered)

    def cancel(self, request: R) -> bool:
        """Drop a waiting request; False if it is not waiting any more."""
        entry = self._entries.get(id(request))
        if entry is None:
            return False
        self._remove(entry)
        return True

    def expire(self, now: float) -> list[R]:
        """Drop and return every request whose deadline has come; one may be put off meanwhile."""
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, serial, entry = heapq.heappop(self._deadlines)
            deadline = entry.request.deadline
            if not entry.waiting or deadline is None:
                continue
            if deadline > now:
                heapq.heappush(self._deadlines, (deadline, serial, entry))
                continue
            self._remove(entry)
            expired.append(entry.request)
        return expired

    def first(self) -> R | None:
        """The first request in line, which is certain to be in the next batch."""
        entry = self._first()
        return None if entry is None else entry.request

    def take(self, held: Collection[Prompt] = ()) -> list[R]:
        """The next batch, empty if nothing waits. Call `expire` first.

        held: prompts that the device has cached; requests with them are cheapest there.
        """
        cut: _Cut[R] = _Cut(self._budget, self._budget // 2)
        aside: list[tuple[float, int, _Entry[R]]] = []
        while len(aside) < LOOK_PAST and (entry := self._first()) is not None:
            if cut.batch and cut.cost(entry) > cut.room:
                aside.append(heapq.heappop(self._line))
                continue
            first, opens = not cut.batch, entry.prompt not in cut.prompts
            self._remove(entry)
            cut.add(entry)
            if opens:
                self._pull(entry.prompt, cut)
            for prompt in held if first else ():
                self._pull(prompt, cut)
        for place in aside:
            heapq.heappush(self._line, place)
        return cut.batch

    def _pull(self, prompt: Prompt, cut: _Cut[R]) -> None:
        """Take the next requests with `prompt` into the batch, out of turn."""
        for mate in list(self._groups.get(prompt, {}).values()):
            cost = cut.cost(mate)
            if cost > min(cut.room, cut.ahead):
                break
            cut.ahead -= cost
            self._remove(mate)
            cut.add(mate)

    def _entry(self, request: R) -> _Entry[R]:
        """A request without a split gets an empty prompt of its own."""
        encoding = request.encoding
        shared = prompt_id(encoding) if self._share_prompts else None
        split = 0 if shared is None else encoding.prompt_len
        prompt = id(request) if shared is None else shared
        return _Entry(request, next(self._serial), prompt, split, encoding.n_tokens - split)

    def _enter(self, entry: _Entry[R], entered: float) -> None:
        request, serial = entry.request, entry.serial
        place = self.place(request.priority, entered)
        self.queued_tokens += self._cost([entry], self._groups)
        self._entries[id(request)] = entry
        self._groups.setdefault(entry.prompt, {})[serial] = entry
        heapq.heappush(self._line, (place, serial, entry))
        if request.deadline is not None:
            heapq.heappush(self._deadlines, (request.deadline, serial, entry))

    def _remove(self, entry: _Entry[R]) -> None:
        entry.waiting = False
        del self._entries[id(entry.request)]
        group = self._groups[entry.prompt]
        del group[entry.serial]
        self.queued_tokens -= entry.own_tokens
        if not group:
            del self._groups[entry.prompt]
            self.queued_tokens -= entry.prompt_tokens
        limit = 2 * len(self._entries) + 64
        if len(self._line) > limit or len(self._deadlines) > limit:
            self._compact_heaps()

    def _compact_heaps(self) -> None:
        """Drop departed entries once they are most of a heap: they keep token ids alive."""
        for heap in (self._line, self._deadlines):
            heap[:] = [item for item in heap if item[2].waiting]
            heapq.heapify(heap)

    def _first(self) -> _Entry[R] | None:
        while self._line and not self._line[0][2].waiting:
            heapq.heappop(self._line)
        return self._line[0][2] if self._line else None

    @staticmethod
    def _cost(entries: Iterable[_Entry[R]], known: dict[Prompt, dict[int, _Entry[R]]]) -> int:
        """Tokens that `entries` add to a queue whose prompts are `known`."""
        new = {e.prompt: e.prompt_tokens for e in entries if e.prompt not in known}
        return sum(new.values()) + sum(e.own_tokens for e in entries)
