"""Service checks: a running application by its name, or any service by its URL.

Each ends with one chat scored, as a trainer would ask for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from cluster.doctor.check import Check, State, tried
from cluster.errors import NotReady, RewardError
from cluster.serving.client.http_client import HttpClient
from cluster.serving.status import Snapshot, snapshot
from cluster.types import Conversation, ModelInfo, Score

ANSWER_S = 20.0
"""Seconds that a chat may take."""
CHAT: Conversation = ("Hi", "Hello!")
Scorer = Callable[[Sequence[Conversation]], Sequence[Score | RewardError]]


def url_checks(url: str, key: str | None) -> Iterator[Check]:
    """key: API key, if the service requires one."""
    with HttpClient(url, key, patience_s=ANSWER_S) as client:
        if not client.ready():
            yield Check("readiness", "problem", _not_ready(client))
            return
        yield Check("readiness", "ok", f"{url} is ready")
        found = tried("model and key", lambda: _told(client.model()))
        yield found
        if found.state == "ok":
            yield scoring_check(lambda chats: client.score(chats, deadline_s=ANSWER_S))


def app_checks(app: str) -> Iterator[Check]:
    """Of the Ray that `ray_session` finds."""
    from cluster.serving.client.connect import RewardService
    from cluster.serving.ray_session import join_service

    def look() -> str:
        join_service(app)
        return f"{app!r} is deployed"

    found = tried("application", look)
    yield found
    if found.state == "problem":
        return
    now = snapshot(app)
    yield from snapshot_checks(now)
    if now.status == "RUNNING":
        service = RewardService(app)
        yield tried("client actor", lambda: _started(service))
        yield scoring_check(lambda chats: service.score(chats, deadline_s=ANSWER_S))


def snapshot_checks(now: Snapshot) -> Iterator[Check]:
    """What a look at the application shows."""
    state: State = "ok" if now.status == "RUNNING" else "problem"
    yield Check("status", state, f"{now.status} {now.message}".strip())
    for deployment in now.deployments:
        n = deployment.replicas.get("RUNNING", 0)
        other = {name: k for name, k in deployment.replicas.items() if name != "RUNNING" and k}
        waiting = "".join(f", {k} {name}" for name, k in other.items())
        told = f"{n} running{waiting}; {deployment.status}"
        healthy = n > 0 and deployment.status == "HEALTHY"
        hint = "" if healthy else ": see `reward-cluster status` and the Ray logs"
        yield Check(deployment.name, "ok" if healthy else "problem", told + hint)
    for model in {info.model: info for info in now.models}.values():
        yield Check("model", "problem" if model.load_error else "ok", _told(model))
    if now.queue is not None:
        queue = now.queue
        told = f"{queue.queued_items} items ({queue.queued_tokens} tokens) wait"
        if queue.struck:
            told += f"; replicas that do not answer: {', '.join(queue.struck)}"
        yield Check("queue", "note" if queue.struck else "ok", told)


def scoring_check(score: Scorer) -> Check:
    """One chat, scored."""

    def look() -> str:
        started = time.monotonic()
        [result] = score([CHAT])
        if isinstance(result, RewardError):
            raise result
        ms = (time.monotonic() - started) * 1000
        return f"a chat of {result.n_tokens} tokens got {result.reward:.3f} in {ms:.0f} ms"

    return tried("scoring", look)


def _started(service: Any) -> str:
    revision = ray.get(service.client.ready.remote(ANSWER_S))
    return f"encodes for revision {revision}"


def _told(model: ModelInfo) -> str:
    where = f"{model.model} @ {model.revision}, {model.numerics}, {model.device}"
    return f"{where}; not loaded: {model.load_error}" if model.load_error else where


def _not_ready(client: HttpClient) -> str:
    try:
        client.model()
    except NotReady as error:
        return f"{error}; start one with `reward-cluster serve`, or wait until it has loaded"
    except RewardError:
        pass  # it answers, and wants a key that it has not got
    return f"{client.url} answers, and no replica serves yet: wait, or see its `status`"
