from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from cluster.errors import DeadlineExceeded, NotFinite
from cluster.serving.batching.pending_requests import (
    JOINED_FOR_S,
    PendingCall,
    QueuedSequence,
    RequestTable,
    sequence_key,
)
from cluster.serving.protocol import ItemResult, Source
from cluster.types import Encoding

pytestmark = pytest.mark.usefixtures("virtual_time")

OLD, NEW = Source("m", "r1", "invariant"), Source("m", "r2", "invariant")


def encoding(*ids: int, prompt_len: int = 0) -> Encoding:
    return Encoding(np.array(ids, np.int32), prompt_len)


def reward(value: float, source: Source = OLD, load: str = "") -> ItemResult:
    """By default of the one load of its source."""
    return ItemResult(value, 0.0, 0.0, source, load or source.revision)


def enter(
    table: RequestTable,
    *encodings: Encoding,
    priority: int = 0,
    deadline: float | None = None,
    now: float = 0.0,
) -> tuple[PendingCall, list[QueuedSequence]]:
    call = PendingCall(len(encodings), deadline, now)
    return call, table.enter(call, dict(enumerate(encodings)), priority, now)


def test_equal_sequences_of_many_calls_are_one_queued_sequence_with_one_answer_for_all() -> None:
    table = RequestTable(dedupe_s=60)
    first, (a, b) = enter(table, encoding(1), encoding(2), encoding(1))
    second, new = enter(table, encoding(2))
    assert new == []
    table.settle(a, reward(1.0), now=0)
    table.settle(b, reward(2.0), now=0)
    assert first.finished() == [reward(1.0), reward(2.0), reward(1.0)]
    assert second.finished() == [reward(2.0)]


def test_the_same_ids_split_elsewhere_are_another_sequence() -> None:
    assert sequence_key(encoding(1, 2, 3)) != sequence_key(encoding(1, 2, 3, prompt_len=1))


@pytest.mark.parametrize(
    ("priority", "deadline", "joins", "until"),
    [(0, 9.0, True, 10.0), (1, 9.0, False, 10.0), (0, 11.0, True, 11.0), (0, None, True, None)],
)
def test_a_waiter_joins_only_where_it_loses_nothing(
    priority: int, deadline: float | None, joins: bool, until: float | None
) -> None:
    table = RequestTable(dedupe_s=60)
    _, (sequence,) = enter(table, encoding(1), deadline=10.0)
    _, new = enter(table, encoding(1), priority=priority, deadline=deadline)
    assert (new == []) is joins
    assert sequence.deadline == until


def test_a_retry_finds_the_answer_until_it_is_forgotten() -> None:
    table = RequestTable(dedupe_s=60)
    _, (sequence,) = enter(table, encoding(1))
    table.settle(sequence, reward(1.0), now=0)
    retry, new = enter(table, encoding(1), now=59)
    assert (retry.finished(), new) == ([reward(1.0)], [])
    _, new = enter(table, encoding(1), now=60)
    assert len(new) == 1


def test_each_caller_is_told_its_own_wait_and_a_kept_answer_cost_it_none() -> None:
    table = RequestTable(dedupe_s=60)
    first, (sequence,) = enter(table, encoding(1), now=0)
    joined, _ = enter(table, encoding(1), now=8)
    table.settle(sequence, reward(1.0)._replace(queue_s=9.0, forward_s=1.0), now=10)
    kept, _ = enter(table, encoding(1), now=11)
    times = [(r.queue_s, r.forward_s) for call in (first, joined, kept) for r in call.finished()]  # type: ignore[union-attr]
    assert times == [(9.0, 1.0), (1.0, 1.0), (0.0, 0.0)]


def test_an_error_is_not_remembered() -> None:
    table = RequestTable(dedupe_s=60)
    _, (sequence,) = enter(table, encoding(1))
    table.settle(sequence, NotFinite("NaN"), now=0)
    _, new = enter(table, encoding(1), now=1)
    assert len(new) == 1


def test_answers_of_old_weights_are_forgotten_when_new_ones_answer() -> None:
    table = RequestTable(dedupe_s=60)
    _, (a, b, c) = enter(table, encoding(1), encoding(2), encoding(3))
    table.settle(a, reward(1.0, OLD), now=0)
    table.settle(b, reward(2.0, NEW), now=0)
    table.settle(c, reward(3.0, OLD), now=0)  # a replica that has not been reloaded yet
    _, new = enter(table, encoding(1), encoding(2), encoding(3), now=1)
    assert [sequence.encoding.input_ids[0] for sequence in new] == [1, 3]


def test_answers_die_with_their_weights_when_a_replica_says_so_before_any_new_answer() -> None:
    table = RequestTable(dedupe_s=60)
    _, (sequence,) = enter(table, encoding(1))
    table.settle(sequence, reward(1.0, OLD), now=0)
    table.loaded(["r1", "r2"], NEW)
    call, new = enter(table, encoding(1), now=1)
    assert len(new) == 1
    table.settle(new[0], reward(2.0, NEW), now=1)
    assert call.finished() == [reward(2.0, NEW)]


def test_answers_are_kept_again_after_the_way_back_to_older_weights() -> None:
    table = RequestTable(dedupe_s=60)

    def asked(now: float) -> list[QueuedSequence]:
        return enter(table, encoding(1), now=now)[1]

    table.settle(asked(0)[0], reward(1.0, OLD, "a"), now=0)
    table.loaded(["a", "b"], NEW)
    table.settle(asked(1)[0], reward(2.0, NEW, "b"), now=1)
    assert asked(1) == []
    table.loaded(["b", "c"], OLD)
    (again,) = asked(2)
    table.settle(again, reward(1.0, OLD, "c"), now=2)
    assert asked(3) == [], "the revision that came back is current, not retired for ever"


def test_a_straggler_of_replaced_weights_changes_nothing() -> None:
    table = RequestTable(dedupe_s=60)
    _, (a, b) = enter(table, encoding(1), encoding(2))
    table.loaded(["old", "new"], NEW)
    table.settle(a, reward(2.0, NEW, "new"), now=0)
    table.settle(b, reward(1.0, OLD, "old"), now=0)
    _, new = enter(table, encoding(1), encoding(2), now=1)
    assert [sequence.encoding.input_ids[0] for sequence in new] == [2]


def test_ids_of_another_tokenizer_never_share_an_answer() -> None:
    one, other = (Encoding(np.array([1], np.int32), fingerprint=f) for f in ("a", "b"))
    assert sequence_key(one) != sequence_key(other)


def test_a_sequence_is_handed_back_when_its_last_waiter_leaves() -> None:
    table = RequestTable(dedupe_s=60)
    first, (sequence,) = enter(table, encoding(1), encoding(1))
    second, _ = enter(table, encoding(1))
    assert table.leave(first) == []
    assert table.leave(second) == [sequence]
    _, new = enter(table, encoding(1))
    assert len(new) == 1, "an abandoned sequence is not joined"


def test_what_is_on_a_device_is_joined_though_nobody_waits_for_it_and_its_deadline_is_near() -> (
    None
):
    table = RequestTable(dedupe_s=60)
    call, (sequence,) = enter(table, encoding(1), deadline=9.0)
    sequence.sent = 0.0
    assert table.leave(call) == [sequence]
    table.keep(sequence)
    again, new = enter(table, encoding(1), priority=5, deadline=11.0)
    assert new == []
    table.settle(sequence, reward(1.0), now=0)
    assert again.finished() == [reward(1.0)]
    assert table.oldest_s(1.0) == 0.0


def test_what_does_not_come_back_from_its_device_is_not_joined_for_ever() -> None:
    table = RequestTable(dedupe_s=60)
    call, (sequence,) = enter(table, encoding(1))
    sequence.sent = 0.0
    table.leave(call)
    table.keep(sequence)
    assert enter(table, encoding(1), now=JOINED_FOR_S - 1)[1] == []
    _, (again,) = enter(table, encoding(1), now=JOINED_FOR_S)
    assert again is not sequence


def test_what_is_kept_takes_no_place_of_what_is_waited_for() -> None:
    table = RequestTable(dedupe_s=60)
    first, (sequence,) = enter(table, encoding(1))
    second, (other,) = enter(table, encoding(1), priority=1)
    table.leave(first)
    table.keep(sequence)
    third, new = enter(table, encoding(1))
    assert new == []
    table.settle(other, reward(1.0), now=0)
    assert second.finished() == third.finished() == [reward(1.0)]


def test_leaving_after_the_answer_hands_nothing_back() -> None:
    table = RequestTable(dedupe_s=60)
    call, (sequence,) = enter(table, encoding(1))
    table.settle(sequence, reward(1.0), now=0)
    assert table.leave(call) == []


async def parts(call: PendingCall) -> list[list[int]]:
    return [part async for part in call.parts()]


def test_parts_name_every_item_once_as_it_completes() -> None:
    async def run() -> list[list[int]]:
        table = RequestTable(dedupe_s=60)
        call, sequences = enter(table, encoding(1), encoding(2), encoding(3))
        reading = asyncio.create_task(parts(call))
        for sequence in reversed(sequences):
            table.settle(sequence, reward(0.0), now=0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return await reading

    assert sorted(i for part in asyncio.run(run()) for i in part) == [0, 1, 2]


def test_at_the_deadline_what_is_missing_has_expired_and_the_rest_has_its_reward() -> None:
    async def run() -> PendingCall:
        table = RequestTable(dedupe_s=60)
        call, sequences = enter(table, encoding(1), encoding(2), deadline=time.monotonic() + 0.01)
        table.settle(sequences[0], reward(1.0), now=0)
        await parts(call)
        table.settle(sequences[1], reward(2.0), now=0)  # too late: changes nothing
        return call

    done, expired = asyncio.run(run()).finished()
    assert done == reward(1.0)
    assert isinstance(expired, DeadlineExceeded)
