"""Actor answer: what one plain actor call of Serve's returns, heard of once.

Serve has a call's answer announced to it four times, each time on a thread of Ray's that reads the
answer and wakes the event loop: for the caller, and for three counts of the router. Here it is
announced once, and the loop tells the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError, TaskCancelledError
from ray.serve._private.common import RequestMetadata
from ray.serve._private.replica_result import ActorReplicaResult


class ActorAnswer(ActorReplicaResult):
    """Of a call whose router runs on the current event loop."""

    def __init__(self, ref: ObjectRef[Any], metadata: RequestMetadata) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Any] = loop.create_future()
        self._callbacks: list[Callable[[Any], Any]] = []
        self._value: Any = None
        super().__init__(ref, metadata)
        on_completed: Any = ref._on_completed
        on_completed(lambda value: loop.call_soon_threadsafe(self._arrive, value))

    @property
    def has_arrived(self) -> bool:
        """Whether the answer, or its error, is there."""
        return self._answer.done()

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """callback: called on the loop with the answer or its error, soon if that is there."""
        if self.has_arrived:
            self._loop.call_soon(callback, self._value)
        else:
            self._callbacks.append(callback)

    async def get_async(self) -> Any:
        """The answer; its error is raised."""
        assert self._obj_ref is not None
        try:
            if asyncio.get_running_loop() is self._loop:
                return await asyncio.shield(self._answer)
            return await self._obj_ref
        except TaskCancelledError:
            raise asyncio.CancelledError from None

    def _arrive(self, value: Any) -> None:
        self._value = value
        if isinstance(value, RayTaskError):
            self._answer.set_exception(value.as_instanceof_cause())  # type: ignore[no-untyped-call]
        elif isinstance(value, RayError):
            self._answer.set_exception(value)
        else:
            self._answer.set_result(value)
        self._answer.exception()  # whoever asked may have gone; that is no error of the loop's
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(value)
