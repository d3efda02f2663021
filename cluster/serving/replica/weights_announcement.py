"""Weights announcement: a replica tells its batchers that it now serves other weights.

Sent before the first reward of the new weights, so that afterwards no answer of the old ones is
given to a retry. A batcher that misses it sees the change in the next batch's answer.
"""

from __future__ import annotations

import contextlib
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cluster.serving.names import BATCHER
from cluster.serving.replica.loaded_weights import Loaded

PATIENCE_S = 2.0
"""Seconds for a batcher to answer; a frozen one must not keep new weights from serving."""


async def announce(new: Loaded, old_load: str | None) -> None:
    """Announce, from within a Serve replica, that `new` replaces `old_load`. Does nothing
    elsewhere."""
    try:
        app = serve.get_replica_context().app_name
    except RayServeException:
        return
    batcher: Any = serve.get_deployment_handle(BATCHER, app, _check_exists=False)
    loads = [load for load in (old_load, new.load) if load is not None]
    with contextlib.suppress(RayError, RayServeException, TimeoutError):
        await batcher.broadcast("weights_loaded", loads, new.source).results_async(
            timeout_s=PATIENCE_S, return_exceptions=True
        )
