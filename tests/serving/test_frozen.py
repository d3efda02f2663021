"""A replica whose process hangs without dying: the service goes on without it, and with it again.

The process is stopped by a signal. Each test would wait for Serve's health checks, minutes, if
anything waited for the stopped one; `until` does not wait that long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from support.load import load
from support.processes import actors, frozen, pid
from support.serving import PATIENCE_S, sequences, service, until

from cluster.config import ClusterConfig
from cluster.serving.replica.backends import fake_reward
from cluster.serving.status import snapshot

pytestmark = pytest.mark.ray
APP = "frozen"


@pytest.fixture(scope="module")
def client(ray_cluster: Cluster, configure: Callable[..., ClusterConfig]) -> Iterator[Any]:
    config = configure(scheduler={"dedupe_s": 0.0})
    with service(config, APP, {"num_replicas": 3}, route_prefix="/") as actor:
        yield actor


@pytest.fixture
def victim(client: Any) -> int:
    """A replica's process."""
    return pid(next(iter(actors("Replica", APP).values())))


def test_a_frozen_replica_under_load_costs_no_reward_and_the_others_go_on(
    client: Any, victim: int
) -> None:
    with load(client) as running, frozen(victim):
        running.wait_for(40)


def test_calls_one_by_one_are_answered_while_a_replica_is_frozen(client: Any, victim: int) -> None:
    rng = np.random.default_rng(1)
    with frozen(victim):
        for _ in range(12):
            (ids,) = sequences(1, rng)
            (score,) = ray.get(client.score.remote([ids], 0, PATIENCE_S), timeout=PATIENCE_S)
            assert score.reward == fake_reward(ids, "r1")


def test_readiness_and_model_are_answered_while_any_replica_is_well(
    client: Any, victim: int, http_port: int
) -> None:
    url = f"http://127.0.0.1:{http_port}"
    with frozen(victim), httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
        until(lambda: http.get("/readyz").status_code == 200)
        answers = Counter(http.get(path).status_code for path in ("/readyz", "/v1/model") * 10)
        assert answers == {200: 20}
        assert ray.get(client.ready.remote(PATIENCE_S)) == "r1"


def test_status_names_the_replica_that_does_not_answer_until_it_does(
    client: Any, victim: int
) -> None:
    def struck() -> int:
        queue = snapshot(APP).queue
        return -1 if queue is None else len(queue.struck)

    with load(client):
        with frozen(victim):
            until(lambda: struck() == 1)
        until(lambda: struck() == 0)


def test_with_every_replica_frozen_the_service_is_not_ready_and_recovers(
    client: Any, http_port: int
) -> None:
    url = f"http://127.0.0.1:{http_port}/readyz"
    processes = [pid(actor) for actor in actors("Replica", APP).values()]
    ids = sequences(8, np.random.default_rng(2))
    with frozen(processes[0]), frozen(processes[1]), frozen(processes[2]):
        until(lambda: httpx.get(url, timeout=PATIENCE_S).status_code == 503)
        waiting = client.score.remote(ids, 0, PATIENCE_S)
        until(lambda: bool((state := snapshot(APP).queue) and state.struck))
    answer = ray.get(waiting, timeout=PATIENCE_S)
    assert [item.reward for item in answer] == [fake_reward(each, "r1") for each in ids]
    until(lambda: httpx.get(url, timeout=PATIENCE_S).status_code == 200)


def test_no_slot_is_ever_reserved_on_a_replica(client: Any) -> None:
    """Serve never frees one whose batcher died, so none may be taken."""
    with load(client) as running:
        running.wait_for(10)
        for replica in actors("Replica", APP).values():
            slots = replica.__ray_call__.remote(lambda r: len(r._replica_impl._reserved_slots))
            assert ray.get(slots) == 0
    assert serve.status().applications[APP].status == "RUNNING"
