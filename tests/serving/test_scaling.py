"""The token policy on a real cluster: 1 -> 3 -> 1 replicas, and every answer right meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.schema import ServeDeploySchema
from support.serving import PATIENCE_S, client_of, sequences, until

from cluster.config import ClusterConfig
from cluster.serving.backends import fake_reward
from cluster.serving.deploy import deploy, wait_until_running
from cluster.serving.names import BATCHER, REPLICA
from cluster.types import Score, TokenIds

pytestmark = [
    pytest.mark.ray,
    # The only way to set the interval for one deployment in this version of Ray.
    pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning"),
]

APP = "scaling"
REPORTS = {"metrics_interval_s": 0.5, "look_back_period_s": 2.0}


def schema(config: ClusterConfig) -> ServeDeploySchema:
    """As serve_config.yaml does it, only faster."""
    replica = {
        "name": REPLICA,
        "ray_actor_options": {"num_cpus": 0},
        "autoscaling_config": {
            "min_replicas": 1,
            "max_replicas": 3,
            "upscale_delay_s": 0.5,
            "downscale_delay_s": 2.0,
            **REPORTS,
        },
    }
    only_reporting = {"min_replicas": 1, "max_replicas": 1, **REPORTS}
    batcher = {"name": BATCHER, "autoscaling_config": only_reporting}
    application = {
        "name": APP,
        "route_prefix": None,
        "import_path": "cluster.serving.app:build",
        "args": dataclasses.asdict(config),
        "deployments": [replica, batcher],
        "autoscaling_policy": {
            "policy_function": "cluster.serving.autoscaling:TokenPolicy",
            "policy_kwargs": {"target_drain_s": 1.0, "tokens_per_s": 20_000, "stale_s": 10.0},
        },
    }
    return ServeDeploySchema.model_validate({"applications": [application]})


@pytest.fixture
def client(ray_cluster: Cluster, configure: Callable[..., ClusterConfig]) -> Iterator[Any]:
    wanted = schema(configure())
    deploy(wanted)
    assert list(wait_until_running(wanted, PATIENCE_S))
    with client_of(APP) as actor:
        yield actor
    serve.delete(APP)


def running() -> int:
    states = serve.status().applications[APP].deployments[REPLICA].replica_states
    return sum(n for state, n in states.items() if state.value == "RUNNING")


def ask(client: Any, rng: np.random.Generator, n: int) -> tuple[list[TokenIds], Any]:
    ids = sequences(n, rng)
    return ids, client.score.remote(ids, 0, PATIENCE_S)


def test_replicas_follow_the_queue_up_and_down_and_no_request_is_lost(client: Any) -> None:
    rng = np.random.default_rng(0)
    assert running() == 1
    asked = [ask(client, rng, 64) for _ in range(60)]  # about 12 s of work for one replica

    until(lambda: running() == 3)

    def still_answering_and_back_to_one() -> bool:
        asked.append(ask(client, rng, 4))
        ray.get(asked[-1][1])
        return running() == 1

    until(still_answering_and_back_to_one)
    for ids, ref in asked:
        for one, item in zip(ids, ray.get(ref), strict=True):
            assert isinstance(item, Score)
            assert item.reward == fake_reward(one, item.revision)
