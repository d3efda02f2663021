"""Trace of the request path: time stamps at the start and end of its hops, from every process.

`install` runs in each Ray worker before anything else and wraps the functions of `POINTS`; each
call of one appends two lines to the file that `FILE` names. `time.monotonic_ns` is the same clock
in all processes of a machine. The service itself knows nothing of this.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import time
from collections.abc import Callable
from typing import Any

FILE = "REWARD_CLUSTER_TRACE"
"""Environment variable with the path of the file."""
POINTS: dict[str, tuple[str, str]] = {
    "proxy": ("cluster.serving.http.proxy_errors", "ProxyErrors.__call__"),
    "ingress": ("cluster.serving.http.middleware", "RequestMiddleware.__call__"),
    "scorer": ("cluster.serving.http.ingress", "ServiceScorer.score"),
    "submit": ("cluster.serving.batching.batcher_client", "BatcherClient._score_batch"),
    "batcher": ("cluster.serving.batching.batcher", "Batcher.score_batch"),
    "dispatch": ("cluster.serving.batching.in_flight", "InFlight.answer"),
    "replica": ("cluster.serving.replica.replica", "Replica.score"),
    "engine": ("cluster.serving.replica.replica", "_score"),
}
"""Point -> module, and the function in it."""


def install() -> None:
    """Wrap every point in this process."""
    for name, (module, path) in POINTS.items():
        *owners, attribute = path.split(".")
        owner: Any = importlib.import_module(module)
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, attribute, _marked(getattr(owner, attribute), name))


def _marked(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            _mark(f"{name}.start")
            try:
                return await call(*args, **kwargs)
            finally:
                _mark(f"{name}.end")

        return awaited

    @functools.wraps(call)
    def called(*args: Any, **kwargs: Any) -> Any:
        _mark(f"{name}.start")
        try:
            return call(*args, **kwargs)
        finally:
            _mark(f"{name}.end")

    return called


def _mark(event: str) -> None:
    """Append one line in one write, so that lines of several processes do not mix."""
    os.write(_file(), f"{time.monotonic_ns()} {event}\n".encode())


@functools.cache
def _file() -> int:
    return os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
