"""Replica pool: which replicas have room, which are unresponsive, which are late.

A replica that holds a batch and has answered nothing for `PING_AFTER_S` is pinged. One whose
process does not answer a ping for `SILENT_AFTER_S` (frozen, unreachable, a driver that stalls the
interpreter) is struck, and so is one that has not answered a batch in the time that the dispatcher
allows it. A struck replica is sent nothing more until that ping, or its late batch, is answered.

`first` is called on Serve's router thread and only reads; everything else runs on the batcher's
loop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from ray.exceptions import ActorDiedError, RayError

MAX_BATCHES_PER_REPLICA = 2
"""Batches on a replica: one running, one waiting for it."""
PING_AFTER_S = 0.25
SILENT_AFTER_S = 0.75
"""Together with `PING_AFTER_S`: how long a frozen replica goes unnoticed."""
STRUCK = 1_000
"""Load of a replica that must be sent nothing."""


class Pingable(Protocol):
    """A candidate of the router's; see `UnaskedReplica`."""

    @property
    def replica_id(self) -> Any: ...

    async def ping(self) -> None: ...


class ReplicaPool:
    """on_silent: called with the id of a replica that stops answering.

    wish: replicas to prefer among equally loaded ones.
    """

    def __init__(self, on_silent: Callable[[str], None]) -> None:
        self.wish: Collection[str] = ()
        self._on_silent = on_silent
        self._known: dict[str, Pingable] = {}
        self._n_sent: Counter[str] = Counter()
        self._n_late: Counter[str] = Counter()
        self._held: set[str] = set()
        self._silent: set[str] = set()
        self._heard: dict[str, float] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}

    def first(self, candidates: Sequence[Any]) -> Any:
        """The least loaded of `candidates`; among equals one of `wish`, else any."""
        self._known = {each.replica_id.unique_id: each for each in candidates}
        shuffled, wish = random.sample(candidates, len(candidates)), self.wish

        def rank(each: Any) -> tuple[int, bool]:
            replica_id = each.replica_id.unique_id
            return self._load(replica_id), replica_id not in wish

        return min(shuffled, key=rank)

    def has_room(self, replica_id: str) -> bool:
        """Whether it may be sent a batch now."""
        return self._load(replica_id) < MAX_BATCHES_PER_REPLICA

    def n_busy(self) -> int:
        """Number of replicas that hold a batch: all of them while more work waits than they can
        take."""
        return len(self._n_sent)

    def idle(self) -> list[str]:
        """Replicas that have room, as far as is known."""
        return [replica_id for replica_id in self._known if self.has_room(replica_id)]

    async def any_idle_answers(self) -> bool:
        """Whether a replica that has room answers a ping now."""
        known = self._known
        pings = [asyncio.ensure_future(known[each].ping()) for each in self.idle()]
        if not pings:
            return False
        done, pending = await asyncio.wait(pings, timeout=SILENT_AFTER_S)
        for ping in pending:
            ping.cancel()
        return any(ping.exception() is None for ping in done)

    def struck(self) -> list[str]:
        """Replicas that get nothing until they answer."""
        return sorted(self._silent | {i for i, n in self._n_late.items() if n})

    def sent(self, replica_id: str) -> None:
        """The replica holds one more batch, and is watched until it ends."""
        if not self._n_sent[replica_id]:
            self._heard[replica_id] = time.monotonic()
        self._n_sent[replica_id] += 1
        known = self._known.get(replica_id)
        if known is not None and replica_id not in self._watches:
            self._watches[replica_id] = asyncio.create_task(self._watch(replica_id, known))

    def back(self, replica_id: str) -> None:
        """One of its batches has ended, however that happened."""
        self._n_sent -= Counter((replica_id,))
        self._heard[replica_id] = time.monotonic()

    def late(self, replica_id: str) -> None:
        """One of its batches is overdue; call `on_time` when that has ended."""
        self._n_late[replica_id] += 1

    def on_time(self, replica_id: str) -> None:
        """An overdue batch has ended."""
        self._n_late -= Counter((replica_id,))

    def hold(self, replica_id: str) -> None:
        """Send it nothing more until `unhold`: one batch is to run alone."""
        self._held.add(replica_id)

    def unhold(self, replica_id: str) -> None:
        """Send it batches again."""
        self._held.discard(replica_id)

    def close(self) -> None:
        """End the watches."""
        for watch in self._watches.values():
            watch.cancel()

    def _load(self, replica_id: str) -> int:
        if replica_id in self._silent or self._n_late[replica_id]:
            return STRUCK
        return MAX_BATCHES_PER_REPLICA if replica_id in self._held else self._n_sent[replica_id]

    async def _watch(self, replica_id: str, replica: Pingable) -> None:
        """Ping the replica while it holds a batch or is silent."""
        try:
            while True:
                await asyncio.sleep(PING_AFTER_S)
                silent = replica_id in self._silent
                if not self._n_sent[replica_id] and not silent:
                    return
                if silent or time.monotonic() - self._heard[replica_id] >= PING_AFTER_S:
                    await self._ping(replica_id, replica)
        except ActorDiedError:
            """Its batches end with the same error."""
        finally:
            self._silent.discard(replica_id)
            self._heard.pop(replica_id, None)
            del self._watches[replica_id]

    async def _ping(self, replica_id: str, replica: Pingable) -> None:
        ping = asyncio.ensure_future(replica.ping())
        try:
            done, _ = await asyncio.wait([ping], timeout=SILENT_AFTER_S)
            if not done:
                self._strike(replica_id)
            await ping
        except ActorDiedError:
            raise
        except (RayError, OSError):
            self._strike(replica_id)
        else:
            self._silent.discard(replica_id)
            self._heard[replica_id] = time.monotonic()
        finally:
            ping.cancel()

    def _strike(self, replica_id: str) -> None:
        if replica_id not in self._silent:
            self._silent.add(replica_id)
            self._on_silent(replica_id)
