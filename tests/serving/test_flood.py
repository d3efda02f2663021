"""A burst after a quiet moment, as between two rollouts, on a real service."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import ray
from support.serving import PATIENCE_S, sequences, service

from cluster.config import ClusterConfig
from cluster.serving.replica.backends import fake_reward

pytestmark = pytest.mark.ray

QUIET_S = 4.0
"""After it, what was answered lately is a trickle: under 12 tokens a second over 10 s."""


def test_a_flood_after_a_trickle_is_scored_without_long_pauses(
    ray_cluster: Any, configure: Callable[..., ClusterConfig]
) -> None:
    """About 25,000 tokens, eight times the queue, are a second's work for two replicas. Whoever
    takes the trickle for their capacity tells refused callers to wait 200 s and more."""
    config = configure(scheduler={"max_queued_tokens": 3_000})
    rng = np.random.default_rng(8)
    trickle, *flood = [sequences(n, rng) for n in (1, *[20] * 20)]
    with service(config, "burst", {"num_replicas": 2}) as client:
        ray.get(client.score.remote(trickle), timeout=PATIENCE_S)
        time.sleep(QUIET_S)
        refs = [client.score.remote(ids) for ids in flood]
        answers = ray.get(refs, timeout=PATIENCE_S)
    for ids, answer in zip(flood, answers, strict=True):
        assert [item.reward for item in answer] == [fake_reward(i, "r1") for i in ids]
