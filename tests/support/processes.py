"""The processes of a running service: found by name, killed and frozen by pid."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import RayActorError

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]


def actors(part: str, app: str) -> dict[str, Any]:
    """Live Serve actors of an app's deployment, or the controller, by name."""
    names = [entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True)]
    wanted = f"SERVE_REPLICA::{app}#{part}#" if part != "controller" else "SERVE_CONTROLLER_ACTOR"
    found: dict[str, Any] = {}
    for name in names:
        if wanted in name:
            with suppress(ValueError):  # it has ended since
                found[name] = ray.get_actor(name, namespace="serve")
    return found


def pid(actor: Any) -> int:
    """0 while the actor is being restarted."""
    try:
        found: int = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30)
    except RayActorError:
        return 0
    return found


def kill(*victims: Any) -> None:
    """End the actors' processes at the same moment, as a crash does."""
    for number in [pid(actor) for actor in victims]:
        if number:  # 0 would be this process and its children
            os.kill(number, signal.SIGKILL)


@contextmanager
def frozen(process: int) -> Iterator[None]:
    """It neither runs nor answers within the block: a frozen host, a stalled driver."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # killed meanwhile
            os.kill(process, signal.SIGCONT)
