"""Gives back slots of this replica whose batcher died between reserving and sending.

Serve holds such a slot for ever: the replica would count it as a running request, and drain for its
whole grace period at every shutdown. A batcher holds a slot for milliseconds, so one that is still
reserved after `LEASE_S` has no owner. Serve has no call for this: the tokens are read from its
replica actor, and where a later Serve keeps them elsewhere nothing is done.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import ray

LEASE_S = 10.0


class SlotLeases:
    """When each reserved slot was first seen. Times are seconds on any one clock."""

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self._lease_s = lease_s
        self._seen: dict[str, float] = {}

    def overdue(self, reserved: Collection[str], now: float) -> list[str]:
        """Those of `reserved` that have been so for longer than the lease."""
        self._seen = {token: self._seen.get(token, now) for token in reserved}
        return [token for token, since in self._seen.items() if now - since > self._lease_s]


async def release_abandoned(leases: SlotLeases) -> int:
    """To be called regularly within a Serve replica; returns how many slots it gave back."""
    actor: Any = ray.get_runtime_context().current_actor
    reserved = await actor.__ray_call__.remote(_reserved)
    tokens = leases.overdue(reserved, time.monotonic())
    for token in tokens:
        await actor.release_slot.remote(token)
    return len(tokens)


def _reserved(serve_replica: Any) -> list[str]:
    return list(getattr(getattr(serve_replica, "_replica_impl", None), "_reserved_slots", ()))
