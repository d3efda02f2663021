from __future__ import annotations

from cluster.serving.batching.watchdog import Watchdog


def test_it_barks_only_after_a_move_was_possible_all_the_time_and_none_came() -> None:
    dog = Watchdog(limit_s=10, now=0)
    assert not dog.stalled(9, True, moved_at=0)
    assert dog.stalled(11, True, moved_at=0)
    assert not dog.stalled(12, True, moved_at=11)
    assert not dog.stalled(30, False, moved_at=11), "nothing waits, or no replica has room"
    assert not dog.stalled(39, True, moved_at=11), "it could move only since 30"
    assert dog.stalled(41, True, moved_at=11)
