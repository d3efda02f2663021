"""Request router of the Ingress, in Serve's proxy: Serve's own choice, unary calls where possible.

Serve copies the classes of this file into the proxy, which may not have the package: there every
request goes Serve's own way.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from typing import Any

from ray.serve._private.common import RequestProtocol
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import ReplicaID, RunningReplica

EARLY_BODY = "cluster.serving.http.early_body"
TRIES = "reward_cluster_tries"
MAX_TRIES = 2
UNCOUNTED = -1


class UnaryIngress(RunningReplica):
    """An Ingress that answers a request with its body in one call, see `unary_answer`."""

    def try_send_request(self, pr: Any, with_rejection: bool) -> Any:
        early_body: Any = sys.modules.get(EARLY_BODY)
        if early_body is None or not (pr.metadata.is_http_request and early_body.came_whole()):
            return super().try_send_request(pr, with_rejection)
        from cluster.serving.http.unary_answer import UnaryAnswer

        metadata = replace(
            pr.metadata,
            call_method="answer",
            is_streaming=False,
            _request_protocol=RequestProtocol.UNDEFINED,
            _http_method="POST",
        )
        tries = getattr(pr, TRIES, 0) + 1
        setattr(pr, TRIES, tries)
        ref = self._actor_handle.handle_request.remote(pickle.dumps(metadata), *pr.args)
        return UnaryAnswer(ref, metadata, UNCOUNTED, may_ask_again=tries < MAX_TRIES)


class IngressRouter(PowerOfTwoChoicesRequestRouter):
    """With as many requests on an Ingress as this proxy has sent it, where no other is told."""

    def create_replica_wrapper(self, replica_info: Any) -> RunningReplica:
        return UnaryIngress(replica_info)

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        if num_ongoing_requests != UNCOUNTED:
            super().on_new_queue_len_info(replica_id, num_ongoing_requests)
