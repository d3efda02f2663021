"""Request router of the Ingress, in Serve's proxy: Serve's own choice, and unary calls.

Serve copies the classes of this file into the proxy, where the package may be missing or of another
version: then every request goes Serve's own way. What they need of it is loaded by `EarlyBody`.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import ReplicaID, RunningReplica


class UnaryIngress(RunningReplica):
    """An Ingress that is asked in one call where that is possible, see `unary_answer`."""

    def __init__(self, replica_info: Any, router: IngressRouter) -> None:
        super().__init__(replica_info)
        self._router = router

    def try_send_request(self, pr: Any, with_rejection: bool) -> Any:
        unary_answer = sys.modules.get("cluster.serving.http.unary_answer")
        ask = getattr(unary_answer, "ask", None)
        able = self._replica_info.replica_metadata
        answer = ask and ask(self._actor_handle, able, pr, self._count_down)
        return answer or super().try_send_request(pr, with_rejection)

    def _count_down(self, _: Any) -> None:
        self._router.decrement_queue_len_cache(self.replica_id)


class IngressRouter(PowerOfTwoChoicesRequestRouter):
    """Counts the unary calls under way itself: an Ingress tells its number of requests only with
    other answers."""

    def create_replica_wrapper(self, replica_info: Any) -> RunningReplica:
        return UnaryIngress(replica_info, self)

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        if num_ongoing_requests >= 0:
            super().on_new_queue_len_info(replica_id, num_ongoing_requests)
