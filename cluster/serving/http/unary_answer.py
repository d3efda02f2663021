"""Unary answer: a request that came with its body is one plain actor call, and so is its answer.

Serve streams every HTTP answer from an Ingress to the proxy: a first message that says whether the
process takes the request, then ASGI messages as they come, each with a round trip of its own. What
this service answers is one body. So where the proxy has the whole request (`EarlyBody`), it sends
that as the argument of a call (`IngressRouter`) and gets all messages as its result. Both ends are
here. A request whose Ingress dies is asked of another one: scoring has no side effects.

In Serve's own metrics and access log such a request is a call of `answer` that is OK, whatever its
HTTP status; the service's log has that.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from ray import ObjectRef
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve._private.common import ReplicaQueueLengthInfo, RequestMetadata, RequestProtocol
from starlette.types import ASGIApp, Message

from cluster.serving.actor_answer import ActorAnswer

ABILITY = {"unary_answer": 1}
"""What an Ingress says of itself. Proxies outlive deployments, so they may meet older ones."""
MAX_TRIES = 3
"""Ingresses that a request is sent to: several may be gone before the proxy has heard of it, and
one that ends its Ingress must not end them all."""
UNKNOWN = -1
"""Requests on an Ingress."""
METHOD: ContextVar[str] = ContextVar("method", default="")
"""In the proxy: the HTTP method of this task's request if its body came along, else empty."""
_TRIES = "reward_cluster_tries"


def ask(
    actor: Any, able: Mapping[str, Any], request: Any, done: Callable[[Any], None]
) -> UnaryAnswer | None:
    """In the proxy: send Serve's PendingRequest to an Ingress; None if it has to go Serve's way.

    able: the metadata of the Ingress. done: called once the call has ended, however that happens.
    """
    metadata, method = request.metadata, METHOD.get()
    plain = metadata.is_http_request and metadata._by_reference and not request.kwargs
    if not (method and plain and able.items() >= ABILITY.items()):
        return None
    metadata = replace(
        metadata,
        call_method="answer",
        is_streaming=False,
        _request_protocol=RequestProtocol.UNDEFINED,
        _http_method=method,
    )
    tries = getattr(request, _TRIES, 0) + 1
    setattr(request, _TRIES, tries)
    ref = actor.handle_request.remote(pickle.dumps(metadata), *request.args)
    answer = UnaryAnswer(ref, metadata, may_ask_again=tries < MAX_TRIES)
    answer.add_done_callback(done)
    return answer


class UnaryAnswer(ActorAnswer):
    """In the proxy: a stream of one element, the pickled ASGI messages."""

    def __init__(self, ref: ObjectRef[Any], metadata: RequestMetadata, may_ask_again: bool) -> None:
        """may_ask_again: whether another Ingress is asked if this one dies."""
        super().__init__(ref, metadata)
        self._may_ask_again = may_ask_again
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
        return ReplicaQueueLengthInfo(accepted=True, num_ongoing_requests=UNKNOWN)

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Serve counts the end of what was accepted, which is too late here: `ask` has done it."""
        if not self.has_arrived:
            super().add_done_callback(callback)

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
