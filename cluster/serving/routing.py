"""Serve's router for the replicas: the caller says how loaded each one is.

`handle.choose_replica(sent={replica id: batches})` takes the replica with the fewest, random among
equals, and the next best where that one does not answer. The batcher knows better than a queue
length that was polled from the replica: it counts what it sent, at the moment of the choice.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from ray.serve.request_router import (
    FIFOMixin,
    PendingRequest,
    RequestRouter,
    RunningReplica,
)

RANKS = 5
"""Replicas tried before the choice starts anew."""


class FewestSentRouter(FIFOMixin, RequestRouter):
    """FIFOMixin: without it, calls that share a Serve request id would wait forever."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Ranks of one replica each, the least loaded first."""
        sent: Mapping[str, int] = pending_request.kwargs.get("sent", {}) if pending_request else {}
        shuffled = random.sample(candidate_replicas, len(candidate_replicas))
        shuffled.sort(key=lambda replica: sent.get(replica.replica_id.unique_id, 0))
        return [[replica] for replica in shuffled[:RANKS]]
