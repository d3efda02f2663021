"""The line: waiting requests in the order of a static key, in groups that share tokens.

A group is the requests of one prompt (or the copies of one sequence that has no prompt to share).
Each group is a heap of its members, and the line is a heap of the groups by their first member.
Leaving is lazy: a member that has left stays in its heap until it surfaces there or outnumbers
those that wait.

Invariants: every group with a waiting member has a valid entry in the line (`listed`), not behind
its first member; `n_tokens` counts each group's shared tokens once, and the rest of each member.

Knows no budget, no deadlines and no clock.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cluster.types import Encoding, Numerics

GroupKey = tuple[int, bytes]
Place = tuple[float, int]
"""Where a request stands: its aged key, then the order of admission. Smaller is sooner."""


@dataclass(eq=False, slots=True)
class Request:
    """One sequence that waits; made by the caller, subclassed to carry more.

    key: equal for sequences whose rewards are equal bits.
    priority: higher is sooner.
    deadline: after which the answer is useless, None is never.
    arrived: when it first asked; times are seconds on whatever clock `now` is from.
    """

    encoding: Encoding
    key: bytes
    priority: int = 0
    deadline: float | None = None
    arrived: float = 0.0
    place: Place | None = field(default=None, init=False, repr=False)
    """Given at admission and kept for good."""
    group: Group[Any] | None = field(default=None, init=False, repr=False)
    """Not None exactly while it is in line."""
    n_tokens: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.n_tokens = len(self.encoding.input_ids)


R = TypeVar("R", bound=Request)


class Group(Generic[R]):
    """Waiting requests of which each after the first costs `shared` tokens less in one batch."""

    __slots__ = ("key", "listed", "members", "shared", "waiting")

    def __init__(self, key: GroupKey, shared: int) -> None:
        self.key = key
        self.shared = shared
        self.waiting = 0
        self.listed: Place | None = None
        self.members: list[tuple[Place, R]] = []

    def first(self) -> R | None:
        """The waiting member that stands first."""
        members = self.members
        while members:
            request = members[0][1]
            if request.group is self:
                return request
            heapq.heappop(members)
        return None

    def tidy(self) -> None:
        """Drop those that have left, and second entries of those given back."""
        kept = {entry[0]: entry for entry in self.members if entry[1].group is self}
        self.members = list(kept.values())
        heapq.heapify(self.members)


class Line(Generic[R]):
    """Everything that waits. depth: requests.  n_tokens: unique tokens."""

    def __init__(self, numerics: Numerics, min_shared_tokens: int) -> None:
        self.depth = 0
        self.n_tokens = 0
        self._numerics = numerics
        self._min_shared_tokens = min_shared_tokens
        self._groups: dict[GroupKey, Group[R]] = {}
        self._heap: list[tuple[Place, int, Group[R]]] = []
        self._count = itertools.count()

    def sharing(self, request: R) -> tuple[GroupKey, int]:
        """The group that a request belongs to, and the tokens shared in it."""
        return sharing(request, self._numerics, self._min_shared_tokens)

    def __contains__(self, key: GroupKey) -> bool:
        return key in self._groups

    def push(self, request: R, place: Place, key: GroupKey, shared: int) -> None:
        """Put a request at `place`; `key` and `shared` are its `sharing`."""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, shared)
        request.place, request.group = place, group
        # Equal places are the same request, given back; then the tuples compare as identical.
        heapq.heappush(group.members, (place, request))
        if group.listed is None or place < group.listed:
            self._list(group, place)
        self.n_tokens += request.n_tokens - (shared if group.waiting else 0)
        group.waiting += 1
        self.depth += 1

    def remove(self, request: R) -> None:
        """Take a request out, wherever it stands."""
        group = request.group
        assert group is not None, "only what is in line leaves it"
        request.group = None
        group.waiting -= 1
        self.depth -= 1
        if group.waiting:
            self.n_tokens -= request.n_tokens - group.shared
            if len(group.members) > 2 * group.waiting + 16:
                group.tidy()
        else:
            self.n_tokens -= request.n_tokens
            del self._groups[group.key]
            if len(self._heap) > 2 * len(self._groups) + 64:
                self._tidy()

    def first(self) -> R | None:
        """The request that stands first of all."""
        heap = self._heap
        while heap:
            place, _, group = heap[0]
            request = group.first() if group.listed == place else None
            if request is None:
                heapq.heappop(heap)
            elif request.place == place:
                return request
            else:
                assert request.place is not None, "what is in line has a place"
                group.listed = request.place
                heapq.heapreplace(heap, (request.place, next(self._count), group))
        return None

    def set_aside(self) -> Group[R]:
        """Hide the group of the request that `first` named, until `restore`."""
        group = heapq.heappop(self._heap)[2]
        group.listed = None
        return group

    def restore(self, groups: list[Group[R]]) -> None:
        """Undo `set_aside`."""
        for group in groups:
            request = group.first()
            if request is not None and request.place is not None:
                self._list(group, request.place)

    def _list(self, group: Group[R], place: Place) -> None:
        group.listed = place
        heapq.heappush(self._heap, (place, next(self._count), group))

    def _tidy(self) -> None:
        self._heap = [e for e in self._heap if e[2].waiting and e[2].listed == e[0]]
        heapq.heapify(self._heap)


def sharing(request: Request, numerics: Numerics, min_shared_tokens: int) -> tuple[GroupKey, int]:
    """The key of a request's group, and the tokens that any two of the group share in a batch.

    One dictionary key a request, nothing compared: what `packing.pack` saves is at least this.
    `fast` may stop up to min_shared_tokens - 1 short of a common prefix; `reference` shares only
    equal sequences. A prompt's ids themselves are its key, so two are never mistaken for one.
    """
    split = request.encoding.prompt_len
    if numerics == "reference" or not 0 < split < request.n_tokens:
        return (0, request.key), request.n_tokens
    shared = split if numerics == "invariant" else max(0, split - min_shared_tokens + 1)
    return (split, request.encoding.input_ids[:split].tobytes()), shared
