"""Service status from outside: Serve's state and the batchers' counts.

Asks every batcher and replica directly, bypassing their queues, so that looking costs the service
next to nothing. Knows nothing of how it is displayed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_jsonable_python
from ray import serve

from cluster.serving.batching.queue_state import QueueState
from cluster.serving.health_probe import each_answer
from cluster.serving.metrics import Totals
from cluster.serving.names import BATCHER, INGRESS, REPLICA
from cluster.serving.replica.prefix_cache_metrics import summed
from cluster.serving.window import Shape
from cluster.types import ModelInfo, PromptCacheStats


@dataclass(frozen=True, slots=True)
class Deployment:
    """replicas: how many are in each of Serve's states."""

    name: str
    status: str
    replicas: dict[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The service at `at` (seconds on `time.monotonic`).

    status: Serve's, or NOT_DEPLOYED. queue, totals: of all batchers, None if none answers.
    models: what the running replicas have loaded. prompts: their prompt caches, summed.
    """

    app: str
    status: str
    message: str
    at: float
    deployments: tuple[Deployment, ...] = ()
    models: tuple[ModelInfo, ...] = ()
    queue: QueueState | None = None
    totals: Totals | None = None
    prompts: PromptCacheStats | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """Throughput between two snapshots. errors: by code."""

    seconds: float
    items_per_s: float
    tokens_per_s: float
    batches_per_s: float
    tokens_per_batch: float
    saved_share: float
    busy_replicas: float
    errors: Counter[str] = field(default_factory=Counter)


def snapshot(app: str) -> Snapshot:
    """As `read_status`, for a thread without an event loop."""
    return asyncio.run(read_status(app))


async def read_status(app: str) -> Snapshot:
    """The service `app` of the Ray cluster that this process is connected to."""
    applications = (await asyncio.to_thread(serve.status)).applications
    found = applications.get(app)
    if found is None:
        there_are = f"this Ray cluster serves: {', '.join(applications) or 'nothing'}"
        return Snapshot(app, "NOT_DEPLOYED", there_are, time.monotonic())
    deployments = tuple(
        Deployment(
            name,
            str(of.status.value),
            {str(state): n for state, n in of.replica_states.items()},
        )
        for name, of in found.deployments.items()
    )
    models, queues, totals, refused, prompts = await asyncio.gather(
        _ask(app, REPLICA, "info", ModelInfo),
        _ask(app, BATCHER, "state", QueueState),
        _ask(app, BATCHER, "totals", Totals),
        _ask(app, INGRESS, "errors", Counter),
        _ask(app, REPLICA, "prompt_cache", PromptCacheStats),
    )
    return Snapshot(
        app,
        str(found.status.value),
        found.message,
        time.monotonic(),
        deployments,
        tuple(models),
        _all_queues(queues),
        _all_totals(totals, refused),
        summed(prompts),
    )


def as_record(now: Snapshot) -> dict[str, Any]:
    """As JSON; `at` in seconds since the epoch, since its readers are on other machines."""
    record: dict[str, Any] = to_jsonable_python(now)
    return record | {"at": time.time() - (time.monotonic() - now.at)}


def throughput(before: Snapshot, after: Snapshot) -> Throughput | None:
    """What was done between the two; None if a batcher did not answer or was restarted."""
    old, new = before.totals, after.totals
    seconds = after.at - before.at
    if old is None or new is None or new.batches < old.batches or seconds <= 0:
        return None
    batches, tokens = new.batches - old.batches, new.tokens - old.tokens
    return Throughput(
        seconds=seconds,
        items_per_s=(new.items - old.items) / seconds,
        tokens_per_s=tokens / seconds,
        batches_per_s=batches / seconds,
        tokens_per_batch=tokens / batches if batches else 0.0,
        saved_share=(new.saved_tokens - old.saved_tokens) / tokens if tokens else 0.0,
        busy_replicas=(new.forward_s - old.forward_s) / seconds,
        errors=new.errors - old.errors,
    )


async def _ask(app: str, deployment: str, method: str, kind: type[Any]) -> list[Any]:
    """The answers of all running processes of a deployment; those that fail are left out."""
    handle: Any = serve.get_deployment_handle(deployment, app)
    return [answer async for answer in each_answer(handle, method) if isinstance(answer, kind)]


def _all_queues(states: Sequence[QueueState]) -> QueueState | None:
    """Summed over batchers; a replica's rate is their mean, ages are those of the oldest item and
    of the last dispatch, and a replica is struck if any batcher gets no answer from it."""
    if not states:
        return None
    return QueueState(
        queued_items=sum(s.queued_items for s in states),
        queued_tokens=sum(s.queued_tokens for s in states),
        running_tokens=sum(s.running_tokens for s in states),
        replica_tokens_per_s=sum(s.replica_tokens_per_s for s in states) / len(states),
        oldest_s=max(s.oldest_s for s in states),
        since_dispatch_s=min(s.since_dispatch_s for s in states),
        struck=tuple(sorted({replica for s in states for replica in s.struck})),
        waiting_tokens=sum(s.waiting_tokens for s in states),
    )


def _all_totals(totals: Sequence[Totals], refused: Sequence[Counter[str]]) -> Totals | None:
    """Summed over batchers, plus the errors of requests that an ingress refused; shapes are those
    of the batcher with the most rewards or batches."""
    if not totals:
        return None
    return Totals(
        batches=sum(t.batches for t in totals),
        items=sum(t.items for t in totals),
        tokens=sum(t.tokens for t in totals),
        saved_tokens=sum(t.saved_tokens for t in totals),
        fill=sum(t.fill for t in totals),
        forward_s=sum(t.forward_s for t in totals),
        retries=sum(t.retries for t in totals),
        errors=sum([*(t.errors for t in totals), *refused], Counter()),
        rewards=_largest([t.rewards for t in totals]),
        latency_s=_largest([t.latency_s for t in totals]),
    )


def _largest(shapes: Sequence[Shape | None]) -> Shape | None:
    return max((s for s in shapes if s is not None), key=lambda shape: shape.n, default=None)
