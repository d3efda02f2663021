"""Autoscaling policy: replicas from queued tokens, for Serve's application-level autoscaler.

The batcher reports its load through Serve's own `record_autoscaling_stats`, because requests that
it holds are invisible to the replicas' own counts. For that its deployment needs an
`autoscaling_config` too, with min_replicas equal to max_replicas; serve_config.yaml has both.
The policy is application-level because only then does it see the batcher's report next to the
replicas.

Invariants: the policy never raises, since an exception would stop the controller's work on every
application; if any batcher's load is unknown or stale it keeps the last target. Delays, factors and
bounds around it are Serve's (`autoscaling_config` of the Replica deployment).

The module is pickled by value into the controller, which needs the package installed but loads
nothing heavy.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.serving.batching.queue_state import FORWARD, RATE, WAITING
from cluster.serving.names import BATCHER, REPLICA

logger = logging.getLogger("ray.serve.reward_cluster")


class LoadUnknown(Exception):
    """The load of a batcher is unknown, so the last target is kept. Never leaves the policy."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load of all batchers together.

    waiting_tokens: unique tokens queued and running, and tokens in line for the queue.
    tokens_per_s: unique tokens per second of one replica's forward, None until measured.
    busy_replicas: forward seconds per second, so how many were computing on average.
    """

    waiting_tokens: float
    tokens_per_s: float | None
    busy_replicas: float


def desired_replicas(waiting_tokens: float, target_drain_s: float, tokens_per_s: float) -> int:
    """Replicas that drain the queue in time: ceil(waiting_tokens / (target_drain_s x
    tokens_per_s)).

    tokens_per_s: unique tokens per second of one replica.
    """
    return math.ceil(waiting_tokens / (target_drain_s * tokens_per_s))


def target_replicas(load: Load, held: int, target_drain_s: float, tokens_per_s: float) -> int:
    """`desired_replicas`, but at least 1, and at least as many of the `held` ones as are busy.

    Without the last bound, a steady load that the replicas just manage, so that little waits, would
    scale them down, queue up and scale them up again, forever. tokens_per_s: used until `load` has
    a measured rate.
    """
    rate = load.tokens_per_s or tokens_per_s
    at_work = min(held, math.ceil(load.busy_replicas - 0.05))
    return max(1, at_work, desired_replicas(load.waiting_tokens, target_drain_s, rate))


class Freshness:
    """How long ago each batcher's newest report came, on the controller's clock alone.

    A report carries the timestamp of its batcher's node, whose clock may differ by any amount. So a
    report's age counts from when its stamp was first seen here; stamps are only compared with one
    another. What the first look finds counts as new: the controller looks many times a second and
    keeps no reports from before its own start.
    """

    def __init__(self) -> None:
        self._seen: dict[Any, tuple[float, float]] = {}

    def age_s(self, batcher: Any, stamp: float, now: float) -> float:
        """stamp: of the newest report, on the batcher's clock. now: on the controller's."""
        known, since = self._seen.get(batcher, (None, now))
        if known != stamp:
            since = now
        self._seen[batcher] = (stamp, since)
        return now - since

    def keep(self, batchers: Collection[Any]) -> None:
        """Forget all others."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in batchers}


def read_load(batcher: Any, stale_s: float, freshness: Freshness) -> Load:
    """The newest reports of all running batchers, from their AutoscalingContext.

    Raises LoadUnknown if one has not reported yet, or not for `stale_s`.
    """
    freshness.keep(batcher.running_replicas)
    reports: Mapping[str, Mapping[Any, Any]] = batcher.raw_metrics or {}
    waiting, rates, busy = 0.0, list[float](), 0.0
    for replica in batcher.running_replicas:
        try:
            points, rate, forward = (reports[name][replica] for name in (WAITING, RATE, FORWARD))
        except KeyError:
            raise LoadUnknown(
                f"batcher {replica.unique_id} has not reported its load yet"
            ) from None
        age = freshness.age_s(replica, points[-1].timestamp, batcher.current_time)
        if age > stale_s:
            told = f"the last report of batcher {replica.unique_id}"
            raise LoadUnknown(f"{told} is {age:.0f} s old")
        waiting += points[-1].value
        rates += [rate[-1].value] if rate[-1].value > 0 else []
        seconds = forward[-1].timestamp - forward[0].timestamp
        busy += (forward[-1].value - forward[0].value) / seconds if seconds > 0 else 0.0
    if not batcher.running_replicas:
        raise LoadUnknown("no batcher is running")
    return Load(waiting, sum(rates) / len(rates) if rates else None, busy)


class TokenPolicy:
    """`autoscaling_policy` of the application in serve_config.yaml.

    target_drain_s: seconds within which the queue should be drained.
    tokens_per_s: of one replica, until the batcher has measured it.
    stale_s: age of a report after which the last target is kept. More than metrics_interval_s and a
    fifth of look_back_period_s in the batcher's autoscaling_config together.
    """

    def __init__(
        self, target_drain_s: float = 5.0, tokens_per_s: float = 40_000.0, stale_s: float = 30.0
    ) -> None:
        if min(target_drain_s, tokens_per_s, stale_s) <= 0:
            raise ValueError("target_drain_s, tokens_per_s and stale_s must be positive")
        self._target_drain_s = target_drain_s
        self._tokens_per_s = tokens_per_s
        self._stale_s = stale_s
        self._freshness = Freshness()
        self._complained = False

    def __call__(
        self, contexts: Mapping[Any, Any]
    ) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """Target replicas by deployment; Serve passes one AutoscalingContext per deployment."""
        return {key: self._target(ctx, contexts) for key, ctx in contexts.items()}, {}

    def _target(self, ctx: Any, contexts: Mapping[Any, Any]) -> int:
        held: int = ctx.target_num_replicas
        if ctx.deployment_name != REPLICA:
            return held
        try:
            load = self._load(contexts)
            target = target_replicas(load, held, self._target_drain_s, self._tokens_per_s)
        except Exception as error:
            self._complain(held, error)
            return held
        self._complained = False
        return target

    def _load(self, contexts: Mapping[Any, Any]) -> Load:
        for ctx in contexts.values():
            if ctx.deployment_name == BATCHER:
                return read_load(ctx, self._stale_s, self._freshness)
        raise LoadUnknown(f"{BATCHER} reports nothing: give it an autoscaling_config as well")

    def _complain(self, held: int, error: Exception) -> None:
        """Log once per outage: the controller calls ten times a second."""
        if not self._complained:
            known = isinstance(error, LoadUnknown)
            logger.warning("autoscaling keeps %d replicas: %s", held, error, exc_info=not known)
        self._complained = True
