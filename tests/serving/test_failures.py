"""What dies, and what the trainer sees of it: after every failure each future has ended exactly
once, with the right reward or a typed error, and the service answers. Real processes, killed by
pid, under a steady load from the actor client."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.schema import ServeDeploySchema
from support.load import Load, load
from support.processes import actors, kill, pid
from support.serving import PATIENCE_S, client_of, sequences, service, until

from cluster.config import ClusterConfig, EngineConfig, FakeGpuConfig
from cluster.errors import Overloaded, RewardError, ScoringFailed
from cluster.serving.deployment.deploy import deploy
from cluster.serving.replica.backends import SleepBackend, fake_reward
from cluster.types import EncodedBatch, Encoding, Score

pytestmark = pytest.mark.ray
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

APP = "failures"
GPU = FakeGpuConfig(flops_per_token=5e-5, flops=1.0)
POISON = 66


class Brittle(SleepBackend):
    """Its process ends when a sequence begins with the poison token."""

    def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        if any(e.input_ids[0] == POISON for e in encodings):
            os._exit(1)
        return super().score(encodings)


def brittle(config: EngineConfig) -> Brittle:
    return Brittle(config, GPU)


@pytest.fixture(scope="module")
def client(ray_cluster: Cluster, configure: Callable[..., ClusterConfig]) -> Iterator[Any]:
    config = configure(scheduler={"max_attempts": 2, "dedupe_s": 0.0})
    with service(config, APP, {"num_replicas": 2}, brittle) as actor:
        yield actor


def replaced(part: str, gone: dict[str, Any], n: int | None = None) -> bool:
    """None of `gone` is there any more, and as many actors as they were, or `n`."""
    now = actors(part, APP)
    return len(now) >= (n or len(gone)) and not set(now) & set(gone)


def test_a_replica_killed_in_mid_batch_costs_no_reward(client: Any) -> None:
    before = actors("Replica", APP)
    with load(client):
        victim = next(iter(before))
        kill(before[victim])
        until(
            lambda: (
                victim not in actors("Replica", APP) and len(actors("Replica", APP)) == len(before)
            )
        )


def test_all_replicas_killed_at_once_cost_no_reward(client: Any) -> None:
    before = actors("Replica", APP)
    with load(client):
        kill(*before.values())
        until(lambda: replaced("Replica", before))


def test_the_batcher_killed_under_load_costs_no_reward(client: Any) -> None:
    before = actors("Batcher", APP)
    with load(client):
        kill(*before.values())
        until(lambda: replaced("Batcher", before))


def test_the_client_actor_killed_under_load_re_runs_its_calls(client: Any) -> None:
    before = pid(client)
    with load(client):
        kill(client)
        until(lambda: pid(client) not in (before, 0))


def test_the_controller_killed_under_load_is_not_noticed(client: Any) -> None:
    (controller,) = actors("controller", APP).values()
    before = pid(controller)
    with load(client):
        kill(controller)
        until(lambda: pid(controller) not in (before, 0))


def test_a_poisonous_request_ends_alone_and_the_rest_get_scores(client: Any) -> None:
    good = sequences(5, np.random.default_rng(5))
    poison = np.array([POISON, 1, 2], np.int32)
    with load(client):
        ref = client.score.remote([*good[:2], poison, *good[2:]], 0, PATIENCE_S)
        answer = ray.get(ref, timeout=PATIENCE_S + 30)
    failed = answer.pop(2)
    assert isinstance(failed, ScoringFailed)
    assert failed.item == 2
    assert [item.reward for item in answer] == [fake_reward(ids, "r1") for ids in good]


def test_a_node_lost_under_load_costs_no_reward(
    ray_cluster: Any, configure: Callable[..., ClusterConfig]
) -> None:
    nodes = [ray_cluster.add_node(num_cpus=1, resources={"spare": 1}) for _ in range(2)]
    placed = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0, "resources": {"spare": 1}}}
    try:
        with service(configure(), "node-loss", placed) as client, load(client):
            ray_cluster.remove_node(nodes.pop(), allow_graceful=False)
    finally:
        for node in nodes:
            ray_cluster.remove_node(node)


def test_a_flood_of_ten_times_the_queue_is_refused_in_time_and_scored_in_the_end(
    ray_cluster: Cluster, configure: Callable[..., ClusterConfig]
) -> None:
    config = configure(scheduler={"max_queued_tokens": 4_000})
    rng = np.random.default_rng(6)
    calls = [sequences(40, rng) for _ in range(16)]
    with service(config, "flood", {"num_replicas": 2}) as client:
        refs = [client.score.remote(ids, 0, PATIENCE_S) for ids in calls]
        batcher = serve.get_deployment_handle("Batcher", "flood")
        until(lambda: refused(batcher, rng))
        for ids, answer in zip(calls, ray.get(refs), strict=True):
            assert [item.reward for item in answer] == [fake_reward(i, "r1") for i in ids]


def refused(batcher: Any, rng: np.random.Generator) -> bool:
    """Whether, behind one large call, a caller that does not wait is told when to come back."""
    large, small = (
        EncodedBatch.from_encodings([Encoding(ids) for ids in sequences(n, rng)]) for n in (600, 1)
    )
    first, second = batcher.score_batch.remote(large), batcher.score_batch.remote(small)
    try:
        second.result()
    except Overloaded as error:
        return error.retry_after_s > 0
    finally:
        first.cancel()
    return False


def lame(mark: str, config: EngineConfig) -> SleepBackend:
    """The first replica to come is ten times slower than the others."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return SleepBackend(config, GPU)
    slow = FakeGpuConfig(flops_per_token=5e-4, flops=1.0)
    return SleepBackend(dataclasses.replace(config, revision="slow"), slow)


def test_a_slow_replica_gets_less_work_and_holds_nothing_back(
    ray_cluster: Cluster, configure: Callable[..., ClusterConfig], tmp_path: Path
) -> None:
    backend = functools.partial(lame, str(tmp_path / "slow-one"))
    with (
        service(configure(), "slow", {"num_replicas": 2}, backend) as client,
        load(client, revisions=("r1", "slow")) as running,
    ):
        until(lambda: items_by_revision(running)["slow"] > 0)
        running.wait_for(20)
    answered = items_by_revision(running)
    assert 0 < answered["slow"] < answered["r1"]


def items_by_revision(running: Load) -> Counter[str]:
    """How many items each revision has scored so far."""
    answers = list(running.answers.values())
    return Counter(source(item) for answer in answers for item in answer)


def source(item: Score | RewardError) -> str:
    """The revision that made it; `Load.check` knows no errors."""
    assert isinstance(item, Score)
    return item.revision


def test_new_weights_roll_through_the_replicas_without_dropping_a_request(
    ray_cluster: Cluster, configure: Callable[..., ClusterConfig]
) -> None:
    app = "rolling"
    args = dataclasses.asdict(configure())

    def roll(revision: str) -> None:
        replica = {
            "name": "Replica",
            "num_replicas": 2,
            "user_config": {"revision": revision},
            "ray_actor_options": {"num_cpus": 1},
        }
        block = {"name": app, "route_prefix": None, "deployments": [replica], "args": args}
        block["import_path"] = "cluster.serving.app:build"
        deploy(ServeDeploySchema.model_validate({"applications": [block]}))

    roll("r1")
    until(lambda: app in serve.status().applications)
    with client_of(app) as actor:
        before = actors("Replica", app)
        with load(actor, revisions=("r1", "r2")) as running:
            roll("r2")
            until(lambda: ray.get(actor.ready.remote()) == "r2")
            running.wait_for(20)
            roll("r1")
            until(lambda: ray.get(actor.ready.remote()) == "r1")
            running.wait_for(20)
            roll("r2")
            running.wait_for(20)
        made_by = [{source(item) for item in answer} for answer in running.answers.values()]
        assert {len(revisions) for revisions in made_by} == {1}, "a call is of one revision"
        ids = sequences(4, np.random.default_rng(9))
        assert {item.revision for item in ray.get(actor.score.remote(ids))} == {"r2"}
        assert set(actors("Replica", app)) == set(before), "no process was replaced"
    serve.delete(app)
