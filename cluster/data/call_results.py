"""Batched calls with errors kept in place: only valid items are sent, and every result goes back to
its place.

Invariant: one result comes out for one item in, in order; an error stays where its item stood.
Knows nothing of what the call does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

from cluster.errors import InvalidInput, RewardError

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


def valid_items(items: Iterable[T | RewardError]) -> list[T]:
    """The items that are not errors, in order."""
    return [item for item in items if not isinstance(item, RewardError)]


def with_errors(
    items: Sequence[T | RewardError], results: Sequence[R | RewardError]
) -> list[R | RewardError]:
    """`results`, one per valid item, and the errors among `items`, each at its item's place.

    Every error names its place among `items`.
    """
    answers = iter(results)
    placed = [item if isinstance(item, RewardError) else next(answers) for item in items]
    return [one.at(i) if isinstance(one, RewardError) else one for i, one in enumerate(placed)]


def or_error(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | InvalidInput:
    """What `read` returns, or the InvalidInput that it raises, to be kept at the item's place."""
    try:
        return read(*args, **kwargs)
    except InvalidInput as error:
        return error


def call_groups(
    groups: Iterable[Sequence[T]], call: Callable[[Sequence[T]], Sequence[R]]
) -> list[list[R]]:
    """`call` with the members of all groups at once; its results, grouped alike.

    `call` returns one result per member, in order; it is not called if there are no members.
    """
    sizes: list[int] = []
    members: list[T] = []
    for group in groups:
        sizes.append(len(group))
        members.extend(group)
    results = iter(call(members) if members else ())
    return [[next(results) for _ in range(size)] for size in sizes]


def raise_retryable(results: Iterable[object]) -> None:
    """Raises the first temporary error: it is not its item's fault, so the whole call should be
    repeated and nothing of it kept."""
    for result in results:
        if isinstance(result, RewardError) and result.retryable:
            raise result
