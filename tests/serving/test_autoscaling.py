"""The token policy on hand-built contexts: its formula, and that it holds rather than raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.config import AutoscalingContext

from cluster.serving.autoscaling import (
    RATE,
    WAITING,
    TokenPolicy,
    autoscaling_stats,
    desired_replicas,
)
from cluster.serving.load import QueueState
from cluster.serving.names import BATCHER, REPLICA

NOW = 1000.0
REPLICAS, BATCHERS = DeploymentID(REPLICA, "reward"), DeploymentID(BATCHER, "reward")


def context(deployment: DeploymentID, target: int, raw: Any = None) -> AutoscalingContext:
    return AutoscalingContext(
        deployment_id=deployment,
        deployment_name=deployment.name,
        app_name=deployment.app_name,
        current_num_replicas=target,
        target_num_replicas=target,
        running_replicas=[],
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics={},
        raw_metrics=raw or {},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=100,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=NOW,
        config=None,
    )


def report(waiting: float, rate: float = 0.0, age_s: float = 0.0, name: str = "b") -> Any:
    """What one batcher told Serve `age_s` seconds ago."""
    state = QueueState(1, int(waiting), 0, rate)
    batcher = ReplicaID(name, BATCHERS)
    return {
        key: {batcher: [TimeStampedValue(NOW - age_s, value)]}
        for key, value in autoscaling_stats(state).items()
    }


def target(policy: TokenPolicy, raw: Any, current: int = 2) -> int:
    contexts: Mapping[Any, Any] = {
        REPLICAS: context(REPLICAS, current),
        BATCHERS: context(BATCHERS, 1, raw),
    }
    decisions, _ = policy(contexts)
    assert decisions[BATCHERS] == 1
    return decisions[REPLICAS]


@given(
    waiting=st.integers(0, 10**9),
    drain_s=st.floats(0.1, 100),
    rate=st.floats(1, 10**6),
)
def test_the_desired_replicas_drain_in_time_and_one_fewer_would_not(
    waiting: int, drain_s: float, rate: float
) -> None:
    n = desired_replicas(waiting, drain_s, rate)
    assert n * drain_s * rate >= waiting * (1 - 1e-9)
    assert n == 0 or (n - 1) * drain_s * rate < waiting


def test_the_measured_rate_is_used_before_the_configured_one() -> None:
    policy = TokenPolicy(target_drain_s=5, tokens_per_s=100)
    assert target(policy, report(2000)) == 4
    assert target(policy, report(2000, rate=200)) == 2


def test_nothing_waiting_wants_one_replica() -> None:
    assert target(TokenPolicy(), report(0), current=7) == 1


def test_running_tokens_keep_their_replicas() -> None:
    state = QueueState(0, queued_tokens=0, running_tokens=900, replica_tokens_per_s=0)
    assert autoscaling_stats(state)[WAITING] == 900


def test_several_batchers_are_added_up() -> None:
    a, b = report(1000, rate=100, name="a"), report(1000, rate=300, name="b")
    both = {key: {**a[key], **b[key]} for key in (WAITING, RATE)}
    assert target(TokenPolicy(target_drain_s=1), both) == 10


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {WAITING: {}},
        {WAITING: {"b": []}},
        {WAITING: {"b": ["no point"]}},
        {WAITING: None},
        report(10**9, age_s=60),
    ],
    ids=["none", "empty", "no batcher", "no point", "broken point", "broken series", "stale"],
)
def test_an_unknown_or_stale_load_keeps_the_last_target(raw: Any) -> None:
    assert target(TokenPolicy(stale_s=15), raw, current=6) == 6


def test_a_missing_batcher_keeps_the_last_target() -> None:
    decisions, _ = TokenPolicy()({REPLICAS: context(REPLICAS, 3)})
    assert decisions == {REPLICAS: 3}


@pytest.mark.parametrize("settings", [{"target_drain_s": 0}, {"tokens_per_s": -1}, {"stale_s": 0}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        TokenPolicy(**settings)
