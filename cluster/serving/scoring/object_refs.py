"""Object references among conversations, resolved as they complete.

Plain items are passed on at once; a reference whose task failed is an error of its own item only.
Knows nothing of encoding and scoring.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from cluster.errors import InvalidInput


async def resolved(conversations: Sequence[Any]) -> AsyncIterator[dict[int, Any]]:
    """Pieces of `conversations` by index: first all that are not references, then the references as
    their tasks end. A failed one is an InvalidInput."""
    plain = {i: c for i, c in enumerate(conversations) if not isinstance(c, ray.ObjectRef)}
    if plain:
        yield plain
    waiting = {
        asyncio.create_task(_value(c)): i
        for i, c in enumerate(conversations)
        if isinstance(c, ray.ObjectRef)
    }
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            yield {waiting.pop(task): task.result() for task in done}
    finally:
        for task in waiting:
            task.cancel()


async def _value(ref: Any) -> Any:
    try:
        value = await ref
    except Exception as error:  # whatever the caller's task raised
        cause = error.cause if isinstance(error, RayTaskError) else error
        return InvalidInput(f"the item's reference failed: {type(cause).__name__}: {cause}")
    if holds_many(value):
        return InvalidInput(
            f"the item's reference holds a list of {len(value)} conversations, and an item is one: "
            "pass the reference in place of the whole list, or one reference per conversation"
        )
    return value


def holds_many(value: Any) -> bool:
    """Whether `value` is a list of conversations rather than one."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    return isinstance(first, str | list | tuple | np.ndarray) and not isinstance(first, Mapping)
