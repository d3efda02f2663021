"""In-flight batches: how long each may take, and when another replica is asked as well.

A batch is also sent to another replica as soon as its own is silent (`replica_pool`), or once it
has taken `LATE_FACTOR` times as long as everything on that replica should. The first copy may still
answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from cluster.serving.batching.dispatch_queue import DispatchUnit
from cluster.serving.batching.queue_state import ReplicaRate
from cluster.serving.batching.replica_pool import ReplicaPool

logger = logging.getLogger("ray.serve.reward_cluster")
LATE_FACTOR = 10.0
LATE_FLOOR_S = 10.0
"""A batch is late after this multiple of its expected forward, or after this many seconds if that
is more."""


class InFlight:
    """ask_elsewhere: called with a unit whose replica should not be waited for."""

    def __init__(
        self, ask_elsewhere: Callable[[DispatchUnit], None], rate: ReplicaRate, stuck_after_s: float
    ) -> None:
        """stuck_after_s: a batch's limit while `rate` has no measurement, and its upper bound
        later."""
        self.pool = ReplicaPool(self._silent)
        self._ask_elsewhere = ask_elsewhere
        self._rate = rate
        self._stuck_after_s = stuck_after_s
        self._out: dict[str, list[DispatchUnit]] = {}

    def begin(self, replica_id: str, unit: DispatchUnit, alone: bool) -> None:
        """That replica gets a copy of `unit`; with `alone`, nothing else until its end."""
        if alone:
            self.pool.hold(replica_id)
        unit.on.add(replica_id)
        self._out.setdefault(replica_id, []).append(unit)
        self.pool.sent(replica_id)

    def end(self, replica_id: str, unit: DispatchUnit, alone: bool) -> None:
        """The replica no longer holds the copy, however that ended. alone: as passed to `begin`."""
        if alone:
            self.pool.unhold(replica_id)
        unit.on.discard(replica_id)
        self._out[replica_id].remove(unit)
        if not self._out[replica_id]:
            del self._out[replica_id]
        self.pool.back(replica_id)

    async def answer(self, sending: Awaitable[Any], replica_id: str, unit: DispatchUnit) -> Any:
        """The answer of `sending`, however long it takes; when it is late, another replica is asked
        too."""
        answer = asyncio.ensure_future(_awaited(sending))
        try:
            done, _ = await asyncio.wait([answer], timeout=self._limit_s(replica_id))
            if done:
                return await answer
            logger.warning("replica %s is late with a batch; asking elsewhere", replica_id)
            self.pool.late(replica_id)
            self._ask_elsewhere(unit)
            try:
                return await answer
            finally:
                self.pool.on_time(replica_id)
        finally:
            answer.cancel()

    def _limit_s(self, replica_id: str) -> float:
        """Seconds within which a replica should answer everything that it holds now."""
        rate = self._rate.tokens_per_s
        if rate <= 0:
            return self._stuck_after_s
        tokens = sum(t.encoding.n_tokens for u in self._out[replica_id] for t in u.sequences)
        return min(self._stuck_after_s, max(LATE_FLOOR_S, LATE_FACTOR * tokens / rate))

    def _silent(self, replica_id: str) -> None:
        logger.warning("replica %s does not answer; asking elsewhere", replica_id)
        for unit in self._out.get(replica_id, ()):
            self._ask_elsewhere(unit)


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call
