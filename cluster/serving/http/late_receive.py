"""Late receive: an Ingress does not ask the proxy for the messages of a request that has its body.

For each request Serve looks the proxy's actor up, which blocks the event loop, and asks it for the
client's messages. A request that came with its body (`early_body`) needs none of them: the
proxy itself ends it when its client leaves, unless the client's headers forbid that. It is asked
after `LATE_S` all the same, longer than a request waits under load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ray.serve._private.common import StreamingHTTPRequest

from cluster.serving.http.early_body import KEY

LATE_S = 60.0
Messages = Callable[[Any], Awaitable[bytes]]
SERVES_OWN: Any = StreamingHTTPRequest.receive_asgi_messages


def receive_late() -> None:
    """For every HTTP request to this process."""
    StreamingHTTPRequest.receive_asgi_messages = property(_messages)  # type: ignore[assignment]


def _messages(request: StreamingHTTPRequest) -> Messages:
    """What Serve calls, with a request's metadata, for its next messages, pickled."""
    now: Callable[[StreamingHTTPRequest], Messages] = SERVES_OWN.fget
    if KEY not in request.asgi_scope:
        return now(request)

    async def later(metadata: Any) -> bytes:
        await asyncio.sleep(LATE_S)
        return await now(request)(metadata)

    return later
