"""The token policy on hand-built contexts: its formula, and that it holds rather than raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.config import AutoscalingContext

from cluster.serving import autoscaling
from cluster.serving.autoscaling import TokenPolicy, desired_replicas
from cluster.serving.batching.queue_state import (
    FORWARD,
    RATE,
    WAITING,
    QueueState,
    autoscaling_stats,
)
from cluster.serving.names import BATCHER, REPLICA

NOW = 1000.0
REPLICAS, BATCHERS = DeploymentID(REPLICA, "reward"), DeploymentID(BATCHER, "reward")
A, B = ReplicaID("a", BATCHERS), ReplicaID("b", BATCHERS)
Raw = dict[str, Any]


class BrokenContext(AutoscalingContext):
    """Its metrics cannot be computed."""

    @property
    def raw_metrics(self) -> Any:
        raise RuntimeError("the controller is confused")


def context(
    deployment: DeploymentID,
    target: int,
    raw: Any = None,
    running: Sequence[ReplicaID] = (A,),
    cls: type[AutoscalingContext] = AutoscalingContext,
    now: float = NOW,
) -> AutoscalingContext:
    return cls(
        deployment_id=deployment,
        deployment_name=deployment.name,
        app_name=deployment.app_name,
        current_num_replicas=target,
        target_num_replicas=target,
        running_replicas=list(running),
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics={},
        raw_metrics=raw,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=100,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=now,
        config=None,
    )


def report(
    waiting: float, rate: float = 0.0, age_s: float = 0.0, busy: float = 0.0, batcher: Any = A
) -> Raw:
    """What one batcher told Serve `age_s` seconds ago and 10 s before that."""
    then = autoscaling_stats(QueueState(1, int(waiting), 0, rate), 100.0)
    now = autoscaling_stats(QueueState(1, int(waiting), 0, rate), 100.0 + 10 * busy)
    return {
        key: {
            batcher: [
                TimeStampedValue(NOW - age_s - 10, then[key]),
                TimeStampedValue(NOW - age_s, now[key]),
            ]
        }
        for key in (WAITING, RATE, FORWARD)
    }


def together(first: Raw, second: Raw) -> Raw:
    return {key: {**first[key], **second[key]} for key in first}


def target(
    policy: TokenPolicy,
    raw: Any,
    current: int = 2,
    running: Sequence[ReplicaID] = (A,),
    now: float = NOW,
) -> int:
    contexts: Mapping[Any, Any] = {
        REPLICAS: context(REPLICAS, current),
        BATCHERS: context(BATCHERS, 1, raw, running, now=now),
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


def test_running_tokens_count_as_waiting() -> None:
    state = QueueState(0, queued_tokens=100, running_tokens=900, replica_tokens_per_s=0)
    assert autoscaling_stats(state, 0.0)[WAITING] == 1000


@pytest.mark.parametrize(
    ("busy", "held", "wanted"), [(2.4, 3, 3), (2.0, 3, 2), (0.3, 3, 1), (0.0, 3, 1), (3.0, 2, 2)]
)
def test_replicas_at_work_are_kept_and_none_is_added_for_them(
    busy: float, held: int, wanted: int
) -> None:
    assert target(TokenPolicy(), report(0, rate=100, busy=busy), current=held) == wanted


def test_several_batchers_are_added_up() -> None:
    both = together(report(1000, rate=100), report(1000, rate=300, batcher=B))
    assert target(TokenPolicy(target_drain_s=1), both, running=(A, B)) == 10


@pytest.mark.parametrize("second", ["has not reported", "is stale"])
def test_one_silent_batcher_of_two_keeps_the_last_target(second: str) -> None:
    policy, first = TokenPolicy(), report(10)
    if second == "is stale":
        first = together(first, report(10, batcher=B))
        assert target(policy, first, current=5, running=(A, B)) == 1
    raw = {key: {**first[key], **report(10, age_s=-60)[key]} for key in first}
    assert target(policy, raw, current=5, running=(A, B), now=NOW + 60) == 5


@pytest.mark.parametrize("skew_s", [-86400.0, -40.0, 40.0, 86400.0])
def test_the_clock_of_a_batcher_s_node_does_not_matter(skew_s: float) -> None:
    policy = TokenPolicy(target_drain_s=5, tokens_per_s=100, stale_s=15)
    told = report(2000, age_s=-skew_s)
    assert target(policy, told) == 4
    assert target(policy, told, now=NOW + 14) == 4
    assert target(policy, told, current=3, now=NOW + 16) == 3, "the report is stale"
    assert target(policy, report(3000, age_s=-skew_s - 17), now=NOW + 17) == 6


def test_the_last_word_of_a_dead_batcher_is_not_counted() -> None:
    both = together(report(10), report(10**9, batcher=B))
    assert target(TokenPolicy(), both, running=(A,)) == 1


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {WAITING: {}},
        report(10) | {WAITING: {A: []}},
        report(10) | {WAITING: {A: ["no point"]}},
        {WAITING: None},
    ],
    ids=["none", "empty", "no batcher", "no point", "broken point", "broken series"],
)
def test_an_unknown_load_keeps_the_last_target(raw: Any) -> None:
    assert target(TokenPolicy(stale_s=15), raw, current=6) == 6


def test_a_raising_context_keeps_the_last_target() -> None:
    broken = context(BATCHERS, 1, cls=BrokenContext)
    decisions, _ = TokenPolicy()({REPLICAS: context(REPLICAS, 3), BATCHERS: broken})
    assert decisions == {REPLICAS: 3, BATCHERS: 1}


def test_a_missing_batcher_keeps_the_last_target() -> None:
    decisions, _ = TokenPolicy()({REPLICAS: context(REPLICAS, 3)})
    assert decisions == {REPLICAS: 3}


def test_an_outage_is_logged_once_and_the_next_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        autoscaling.logger, "warning", lambda message, *args, **_: told.append(message % args)
    )
    policy = TokenPolicy()
    for raw, later_s in (
        (None, 0),
        (None, 0),
        (report(10), 1),
        (report(10), 100),
        (report(10), 101),
    ):
        target(policy, raw, now=NOW + later_s)
    assert told == [
        "autoscaling keeps 2 replicas: batcher a has not reported its load yet",
        "autoscaling keeps 2 replicas: the last report of batcher a is 99 s old",
    ]


@pytest.mark.parametrize("settings", [{"target_drain_s": 0}, {"tokens_per_s": -1}, {"stale_s": 0}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        TokenPolicy(**settings)
