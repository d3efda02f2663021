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
from cluster.serving.deployment.deploy import deploy, wait_until_running
from cluster.serving.names import BATCHER, REPLICA
from cluster.serving.replica.backends import fake_reward
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
            "policy_kwargs": {"target_drain_s": 1.0, "tokens_per_s": 20_000, "stale_s": 15.0},
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
    found: Any = serve.status().applications[APP].deployments[REPLICA].replica_states
    return int(found.get("RUNNING", 0))


class Trainer:
    """Calls through the actor client, each kept with its answer's future."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._rng = np.random.default_rng(0)
        self.asked: list[tuple[list[TokenIds], Any]] = []

    def keep_open(self, n_calls: int, n_sequences: int) -> None:
        """Ask until that many calls are unanswered."""
        refs = [ref for _, ref in self.asked]
        _, pending = ray.wait(refs, num_returns=len(refs), timeout=0) if refs else ([], [])
        for _ in range(n_calls - len(pending)):
            ids = sequences(n_sequences, self._rng)
            self.asked.append((ids, self._client.score.remote(ids, 0, PATIENCE_S)))

    def check(self) -> None:
        """Everything asked has its right answer."""
        for ids, ref in self.asked:
            for one, item in zip(ids, ray.get(ref), strict=True):
                assert isinstance(item, Score)
                assert item.reward == fake_reward(one, item.revision)


def test_replicas_follow_the_queue_up_and_down_and_no_request_is_lost(client: Any) -> None:
    trainer = Trainer(client)
    assert running() == 1

    def three_under_a_crowd() -> bool:
        trainer.keep_open(30, 64)  # 6 s of work for one replica
        return running() == 3

    def one_under_a_trickle() -> bool:
        trainer.keep_open(1, 4)
        return running() == 1

    until(three_under_a_crowd)
    until(one_under_a_trickle)
    trainer.check()
