"""Replicas from queued tokens: an application-level policy for Serve's autoscaler.

The batcher reports its load through Serve's own `record_autoscaling_stats`; requests that it holds
are invisible to the replicas' own counts. Invariant: the policy never raises, since an exception
would freeze every application's state machine in the controller, and where the load is unknown or
old it keeps the last target. Delays, factors and bounds around it are Serve's (autoscaling_config).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from cluster.serving.load import QueueState
from cluster.serving.names import BATCHER, REPLICA

logger = logging.getLogger("ray.serve.reward_cluster")

WAITING = "waiting_tokens"
RATE = "replica_tokens_per_s"


def autoscaling_stats(state: QueueState) -> dict[str, float]:
    """What the batcher reports: tokens queued and running, and a replica's measured rate."""
    return {
        WAITING: float(state.queued_tokens + state.running_tokens),
        RATE: state.replica_tokens_per_s,
    }


def desired_replicas(waiting_tokens: float, target_drain_s: float, tokens_per_s: float) -> int:
    """ceil(waiting_tokens / (target_drain_s x tokens_per_s)): so many drain it in time.

    tokens_per_s: unique tokens a second of one replica.
    """
    return math.ceil(waiting_tokens / (target_drain_s * tokens_per_s))


class TokenPolicy:
    """`autoscaling_policy` of the application in serve_config.yaml.

    target_drain_s: seconds in which what waits should be scored.
    tokens_per_s: of one replica, until the batcher has measured it.
    stale_s: age of a report after which the last target is kept.
    """

    def __init__(
        self, target_drain_s: float = 5.0, tokens_per_s: float = 40_000.0, stale_s: float = 15.0
    ) -> None:
        if min(target_drain_s, tokens_per_s, stale_s) <= 0:
            raise ValueError("target_drain_s, tokens_per_s and stale_s must be positive")
        self._target_drain_s = target_drain_s
        self._tokens_per_s = tokens_per_s
        self._stale_s = stale_s
        self._complained = False

    def __call__(
        self, contexts: Mapping[Any, Any]
    ) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """Targets by deployment; Serve passes one AutoscalingContext a deployment."""
        return {key: self._target(ctx, contexts) for key, ctx in contexts.items()}, {}

    def _target(self, ctx: Any, contexts: Mapping[Any, Any]) -> int:
        held: int = ctx.target_num_replicas
        if ctx.deployment_name != REPLICA:
            return held
        try:
            return self._replicas(ctx, contexts.values())
        except Exception:
            if not self._complained:
                logger.exception("autoscaling keeps %d replicas: the load cannot be read", held)
            self._complained = True
            return held

    def _replicas(self, ctx: Any, contexts: Iterable[Any]) -> int:
        batcher = next((c for c in contexts if c.deployment_name == BATCHER), None)
        if batcher is None:
            return int(ctx.target_num_replicas)
        reports = batcher.raw_metrics or {}
        waiting = list(self._latest(reports.get(WAITING, {}), batcher.current_time))
        if not waiting:
            return int(ctx.target_num_replicas)
        rates = [r for r in self._latest(reports.get(RATE, {}), batcher.current_time) if r > 0]
        rate = sum(rates) / len(rates) if rates else self._tokens_per_s
        return max(1, desired_replicas(sum(waiting), self._target_drain_s, rate))

    def _latest(self, series: Mapping[Any, Any], now: float) -> Iterable[float]:
        """Each reporting process's newest value, unless it is old."""
        for points in series.values():
            if points and now - points[-1].timestamp <= self._stale_s:
                yield points[-1].value
