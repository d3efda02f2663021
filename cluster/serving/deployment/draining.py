"""Draining: accepted work is answered before the applications end.

While anything is running, new work is refused: an Ingress answers 503 (`http.request_limit`), a
client actor NotReady. Then accepted work ends: HTTP requests, calls of client actors, and what
waits and runs in the batchers. A process that does not answer may hold work, so it is asked again
until the time is up. Other applications in the file are not asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeDeploySchema

from cluster.serving.client.connect import client_actors
from cluster.serving.deployment.deploy import deploy, draining
from cluster.serving.deployment.serve_config import own_apps
from cluster.serving.health_probe import every_answer
from cluster.serving.names import BATCHER, INGRESS

LOOK_S = 0.2
ANSWER_S = 2.0
"""Seconds for client actors to report how much they hold; one that does not may be restarting, and
then holds calls that it will run again."""
COLLECT_S = 1.0
"""Seconds for callers to fetch their answers: large ones are stored in the Ray that ends."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Work that is not answered yet. calls, requests: accepted by client actors and over HTTP.

    tokens: waiting and running in the batchers. silent: parts of the service that do not report.
    """

    calls: int = 0
    requests: int = 0
    tokens: int = 0
    silent: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.calls or self.requests or self.tokens or self.silent)

    def __str__(self) -> str:
        held = {"calls": self.calls, "HTTP requests": self.requests, "queued tokens": self.tokens}
        parts = [f"{n:,} {what}" for what, n in held.items() if n]
        parts += [f"no answer from {part}" for part in self.silent]
        return ", ".join(parts) or "nothing"


def drain(schema: ServeDeploySchema, drain_s: float) -> UnderWay:
    """Refuse new work, wait at most `drain_s` until none is left, then delete the apps.

    Returns what was still unanswered then.
    """
    end = time.monotonic() + drain_s
    names = [app.name for app, _ in own_apps(schema)]
    left = first = under_way(names)
    if first:
        deploy(draining(schema))
    while left and time.monotonic() < end:
        time.sleep(LOOK_S)
        left = under_way(names)
    if first.calls or first.silent:
        time.sleep(max(0.0, min(COLLECT_S, end - time.monotonic())))
    for name in [app.name for app in schema.applications]:
        serve.delete(name, _blocking=time.monotonic() < end)
    return left


def under_way(names: list[str]) -> UnderWay:
    """Unanswered work of the applications `names`, whose client actors take no new calls from now
    on."""
    calls, silent_clients = _shut_clients(names)
    states = [state for name in names for state in _answers(name, BATCHER, "state")]
    requests = [n for name in names for n in _answers(name, INGRESS, "n_inside")]
    silent = {"client actors": silent_clients, BATCHER: None in states, INGRESS: None in requests}
    return UnderWay(
        calls=calls,
        requests=sum(n for n in requests if n is not None),
        tokens=sum(s.queued_tokens + s.running_tokens + s.waiting_tokens for s in states if s),
        silent=tuple(part for part, is_silent in silent.items() if is_silent),
    )


def _shut_clients(names: list[str]) -> tuple[int, bool]:
    """How many calls the client actors hold, and whether one of them does not report."""
    refs: list[Any] = [actor.shut.remote() for name in names for actor in client_actors(name)]
    if not refs:
        return 0, False
    answered, silent = ray.wait(refs, num_returns=len(refs), timeout=ANSWER_S)
    return sum(_counts(answered)), bool(silent)


def _counts(refs: list[Any]) -> Iterator[int]:
    for ref in refs:
        with contextlib.suppress(RayError):  # it has ended, and holds nothing
            yield ray.get(ref)


def _answers(app: str, deployment: str, method: str) -> list[Any]:
    """See `every_answer`. Nothing if the app does not run."""
    with contextlib.suppress(RayServeException):
        handle: Any = serve.get_deployment_handle(deployment, app)
        return asyncio.run(every_answer(handle, method))
    return []
