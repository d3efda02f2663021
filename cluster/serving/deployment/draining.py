"""Draining: what was accepted is answered before the applications end.

Where anything is under way the doors shut: an Ingress answers 503 to what is new
(`http.request_limit`), a client actor NotReady. Then what is inside ends: requests and calls at
both doors, what waits and runs in the batchers. Other applications in the file are not asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeDeploySchema

from cluster.serving.client.connect import client_actors
from cluster.serving.deployment.deploy import deploy, draining
from cluster.serving.deployment.serve_config import own_apps
from cluster.serving.health_probe import each_answer
from cluster.serving.names import INGRESS
from cluster.serving.status import snapshot

LOOK_S = 0.2
ANSWER_S = 2.0
"""Seconds for client actors to say how much they hold; one that says nothing may be restarting,
and then holds calls that it runs again."""
COLLECT_S = 1.0
"""Seconds for callers to fetch what is answered: large answers lie in the Ray that ends."""


def drain(schema: ServeDeploySchema, drain_s: float) -> None:
    """Shut the doors, wait at most `drain_s` until nothing is under way, then delete the apps."""
    end = time.monotonic() + drain_s
    names = [app.name for app, _ in own_apps(schema)]
    calls = _shut_clients(names)
    if calls or any(_is_busy(name) for name in names):
        deploy(draining(schema))
        while time.monotonic() < end and (
            _shut_clients(names) or any(_is_busy(name) for name in names)
        ):
            time.sleep(LOOK_S)
    if calls:
        time.sleep(max(0.0, min(COLLECT_S, end - time.monotonic())))
    for name in [app.name for app in schema.applications]:
        serve.delete(name, _blocking=time.monotonic() < end)


def _shut_clients(names: list[str]) -> int:
    """The client actors take no new calls from now on; returns how many they still hold."""
    refs: list[Any] = [actor.shut.remote() for name in names for actor in client_actors(name)]
    if not refs:
        return 0
    answered, silent = ray.wait(refs, num_returns=len(refs), timeout=ANSWER_S)
    return sum(_counts(answered)) + len(silent)


def _counts(refs: list[Any]) -> Iterator[int]:
    for ref in refs:
        with contextlib.suppress(RayError):
            yield ray.get(ref)


def _is_busy(name: str) -> bool:
    queue = snapshot(name).queue
    waits = queue is not None and (
        queue.queued_items or queue.running_tokens or queue.waiting_tokens
    )
    return bool(waits) or _requests_inside(name) > 0


def _requests_inside(name: str) -> int:
    """What the Ingresses of an app have let in and not answered yet."""

    async def count() -> int:
        handle: Any = serve.get_deployment_handle(INGRESS, name)
        return sum([n async for n in each_answer(handle, "n_inside")])

    with contextlib.suppress(RayServeException):
        return asyncio.run(count())
    return 0
