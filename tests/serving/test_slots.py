from __future__ import annotations

from cluster.serving.slots import SlotLeases


def test_a_slot_is_overdue_only_when_it_was_reserved_all_the_time() -> None:
    leases = SlotLeases(lease_s=10)
    assert leases.overdue(["a", "b"], now=0) == []
    assert leases.overdue(["b", "c"], now=9) == []
    assert leases.overdue(["a", "b", "c"], now=11) == ["b"]
    assert leases.overdue(["a", "c"], now=20) == ["c"]
