"""Request router of the replicas: the batcher chooses, no queue-length probes.

`handle.choose_replica(pool=...)` takes the replica that the `ReplicaPool` ranks first, and
`handle.choose_replica(only=replica_id)` exactly that one. Serve itself would ask a replica for its
queue length and then for a slot, each a round trip that waits as long as the replica hangs. The
batcher has counted what it sent, so no replica is asked: a choice waits for no other process, and a
batcher that died leaves no slot reserved. Requests beyond a replica's capacity wait inside it.
Calls of a batcher go the same way, with no preference, as a batcher takes whatever comes.
"""

from __future__ import annotations

import pickle
import random
from typing import Any

from ray.serve.request_router import (
    FIFOMixin,
    PendingRequest,
    RequestRouter,
    RunningReplica,
)

PING_DEADLINE_S = 1.0


class UnaskedReplica(RunningReplica):
    """A replica that is sent batches without a reservation."""

    async def reserve_slot(self, request_metadata: Any) -> tuple[str, Any]:
        """An empty token: on arrival the batch takes a slot like any other request."""
        from ray.serve._private.common import ReplicaQueueLengthInfo

        return "", ReplicaQueueLengthInfo(accepted=True, num_ongoing_requests=0)

    async def release_slot(self, slot_token: str) -> Any:
        """Nothing was reserved."""
        return None

    def try_send_request(self, pr: Any, with_rejection: bool) -> Any:
        """See `ActorAnswer`; streams go Serve's way, and so does a caller without the package."""
        if with_rejection or pr.metadata.is_streaming or not pr.metadata._by_reference:
            return super().try_send_request(pr, with_rejection)
        try:
            from cluster.serving.actor_answer import ActorAnswer
        except ImportError:
            return super().try_send_request(pr, with_rejection)

        call = self._actor_handle.handle_request
        ref = call.remote(pickle.dumps(pr.metadata), *pr.args, **pr.kwargs)
        return ActorAnswer(ref, pr.metadata)

    async def get_queue_len(self, *, deadline_s: float) -> int:
        """Not asked: the batcher's own count is better and costs no round trip."""
        return 0

    async def ping(self) -> None:
        """Returns once the process has answered. Raises RayActorError if it cannot."""
        await super().get_queue_len(deadline_s=PING_DEADLINE_S)


class RosterRouter(FIFOMixin, RequestRouter):
    """FIFOMixin: without it, calls that share a Serve request id would wait forever."""

    def create_replica_wrapper(self, replica_info: Any) -> RunningReplica:
        return UnaskedReplica(replica_info)

    async def _choose_replica_for_request(
        self, pending_request: PendingRequest, *, is_retry: bool = False
    ) -> RunningReplica:
        """At once if there is a replica, as no choice waits for an answer; else in Serve's queue,
        which is worked off by tasks of its own."""
        candidates = list(self.curr_replicas.values())
        if not candidates or is_retry:
            return await super()._choose_replica_for_request(pending_request, is_retry=is_retry)
        ((chosen,),) = await self.choose_replicas(candidates, pending_request)
        return chosen

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """One replica; any of them if the caller names none, or the named one is gone."""
        kwargs = pending_request.kwargs if pending_request else {}
        if (pool := kwargs.get("pool")) is not None:
            return [[pool.first(candidate_replicas)]]
        only = kwargs.get("only")
        wanted = [r for r in candidate_replicas if r.replica_id.unique_id == only]
        return [[random.choice(wanted or candidate_replicas)]]
