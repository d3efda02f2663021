"""Client actors by their names in Ray."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import ray

from cluster.serving.names import NAMESPACE

if TYPE_CHECKING:
    from ray.actor import ActorHandle


def find(name: str) -> ActorHandle[Any] | None:
    """The actor of this name, None if there is none. A process keeps the names that it has looked
    up, so an actor that has just ended may still be found."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None


def wait_until_unknown(name: str, ended: str, patience_s: float) -> None:
    """Return once this process no longer finds the actor of id `ended` (hexadecimal) by `name`, at
    the latest after `patience_s`: an actor that is being restarted keeps its name."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found = find(name)
        if found is None or found._actor_id.hex() != ended:
            return
        time.sleep(0.005)


__all__ = ["find", "wait_until_unknown"]
