"""Unary answer: a request that came with its body is one plain actor call, and so is its answer.

Serve streams every HTTP answer from an Ingress to the proxy: a first message that says whether the
process takes the request, then ASGI messages as they come, each with a round trip of its own. What
this service answers is one body. So where the proxy has the whole request (`early_body`), it sends
that as the argument of a call (see `IngressRouter`) and gets all messages as its result. Both ends
are here. A request whose Ingress dies is asked of another one, once: scoring has no side effects.
"""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from ray import ObjectRef
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve._private.common import ReplicaQueueLengthInfo, RequestMetadata
from starlette.types import ASGIApp, Message

from cluster.serving.actor_answer import ActorAnswer


class UnaryAnswer(ActorAnswer):
    """In the proxy: a stream of one element, the pickled ASGI messages."""

    def __init__(
        self, ref: ObjectRef[Any], metadata: RequestMetadata, n_running: int, may_ask_again: bool
    ) -> None:
        """n_running: what the router is told of the Ingress. may_ask_again: whether another
        Ingress is asked if this one dies."""
        super().__init__(ref, metadata)
        self._n_running, self._may_ask_again = n_running, may_ask_again
        self._is_read = False

    async def get_rejection_response(self) -> ReplicaQueueLengthInfo:
        """Accepted, once the answer is there. Raises ActorDiedError or ActorUnavailableError, upon
        which Serve's router chooses another Ingress."""
        try:
            await self.get_async()
        except (ActorDiedError, ActorUnavailableError):
            if self._may_ask_again:
                raise
        except Exception:
            pass  # raised where it is read
        return ReplicaQueueLengthInfo(accepted=True, num_ongoing_requests=self._n_running)

    async def __anext__(self) -> Any:
        if self._is_read:
            raise StopAsyncIteration
        self._is_read = True
        return await self.get_async()


async def answer(app: ASGIApp, request: bytes) -> bytes:
    """In the Ingress: the app's ASGI messages, pickled, for a pickled `StreamingHTTPRequest`."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await app(pickle.loads(request).asgi_scope, _nothing_more, send)
    return pickle.dumps(messages)


async def _nothing_more() -> Message:
    """The proxy ends the call when its client leaves."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")
