from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster.data.call_results import call_groups, raise_retryable, valid_items, with_errors
from cluster.errors import InvalidInput, NotReady, TooLong


def test_results_stand_where_their_items_stood_and_errors_name_their_place() -> None:
    items = ["a", InvalidInput("no text", 9), "b", "c"]
    assert valid_items(items) == ["a", "b", "c"]
    results = with_errors(items, [1.0, TooLong("too long", 1), 3.0])
    assert (results[0], results[3]) == (1.0, 3.0)
    assert [str(results[i]) for i in (1, 2)] == ["item 1: no text", "item 2: too long"]
    assert isinstance(results[2], TooLong)


def test_groups_of_any_size_are_answered_by_one_call() -> None:
    calls: list[Sequence[int]] = []

    def squares(members: Sequence[int]) -> list[int]:
        calls.append(members)
        return [member**2 for member in members]

    assert call_groups([[1, 2], [], [3]], squares) == [[1, 4], [], [9]]
    assert calls == [[1, 2, 3]]
    assert call_groups([[], []], squares) == [[], []]
    assert len(calls) == 1


def test_only_what_may_pass_is_raised() -> None:
    raise_retryable([1.0, InvalidInput("no text")])
    with pytest.raises(NotReady):
        raise_retryable([InvalidInput("no text"), NotReady("no replica")])
