"""Late receive: an Ingress asks the proxy for a request's messages only when it needs them.

For each request Serve looks the proxy's actor up, a call to the GCS that blocks the event loop, and
then asks it for the client's messages. A request that came with its body (`early_body`) needs none
of them unless its client leaves; then the proxy itself ends it. Under load a request waits for
seconds, so `LATE_S` is longer than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import ray
from ray.serve._private.common import StreamingHTTPRequest
from ray.serve._private.constants import SERVE_NAMESPACE

from cluster.serving.http.early_body import KEY

LATE_S = 60.0
Messages = Callable[[Any], Awaitable[bytes]]


def receive_late() -> None:
    """For every HTTP request to this process."""
    StreamingHTTPRequest.receive_asgi_messages = property(_messages)  # type: ignore[assignment]


def _messages(request: StreamingHTTPRequest) -> Messages:
    """What Serve calls, with a request's metadata, for its next messages, pickled."""
    wait_s = LATE_S if KEY in request.asgi_scope else 0.0

    async def messages(metadata: Any) -> bytes:
        nonlocal wait_s
        await asyncio.sleep(wait_s)
        wait_s = 0.0
        name = request._proxy_actor_name or ""
        proxy: Any = ray.get_actor(name, namespace=SERVE_NAMESPACE)
        pickled: bytes = await proxy.receive_asgi_messages.remote(metadata)
        return pickled

    return messages
