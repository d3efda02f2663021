"""Which sequences go to a device next. A pure object: no clock, no I/O, `now` is passed in.

Invariants:
- every admitted request leaves exactly once: in a cut, expired or cancelled;
- a cut's tokens, prompts that its requests share counted once, stay within the token budget; a
  request that alone is longer goes alone;
- the first in line is in the next cut. First is who has the best aged priority, and the oldest
  among equals;
- what is expired or cancelled is in no cut, and `queued_tokens` is zero when nothing waits.

Ageing: a request gains one priority level for each `ageing_s` seconds it waits, so its priority
at time t is priority + (t - arrived) / ageing_s. All grow equally fast: the order of two requests
never changes, and the static key arrived - priority * ageing_s (`line.Line`) is the whole line.

Grouping: requests that share their prompt, from whatever calls, go together, because the prompt
is then computed once. Of each cut at most half the budget may jump the line for that, so whoever
has T tokens before them waits at most twice as many cuts as in a plain line, however many
requests of one prompt flood in.

Costs are exact for `invariant` and `reference` numerics and an upper bound for `fast`, which may
find more to share than whole prompts; see `line.sharing`. Knows no asyncio, no replicas and
nobody who waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from cluster.config import SchedulerConfig
from cluster.serving.line import R, Request
from cluster.types import Numerics

__all__ = ["Cut", "Request", "Scheduler"]


@dataclass(frozen=True, slots=True)
class Cut(Generic[R]):
    """The requests of one batch, in line order of their groups; empty where nothing waits.

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
        raise NotImplementedError

    @property
    def depth(self) -> int:
        """Requests waiting."""
        raise NotImplementedError

    @property
    def queued_tokens(self) -> int:
        """Unique tokens waiting: the work, each waiting group's prompt counted once."""
        raise NotImplementedError

    def admit(self, requests: Sequence[R], now: float) -> None:
        """Put all `requests` of a call in line, or none.

        Raises Overloaded where they do not fit in `max_queued_tokens`, with the seconds after
        which they are expected to. An empty queue takes any call, so none is refused for ever.
        """
        raise NotImplementedError

    def cut(self, now: float) -> Cut[R]:
        """Take the next batch out of the line."""
        raise NotImplementedError

    def expire(self, now: float) -> list[R]:
        """Take out, once, all whose deadline is at or before `now`."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """The earliest deadline in line: when to call `expire`."""
        raise NotImplementedError

    def cancel(self, request: R) -> bool:
        """Take out a request that nobody waits for. False where it is not in line (any more)."""
        raise NotImplementedError

    def give_back(self, requests: Iterable[R], now: float) -> None:
        """Requests of a cut that was not run return to the places they had. Always admitted."""
        raise NotImplementedError
