"""Requests that come with their body: one call of an Ingress, and of another one if that dies."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.config import RequestRouterConfig
from support import raw_http
from support.gate import Gate, gated
from support.processes import actors, kill
from support.serving import PATIENCE_S, deploy, sequences, service, until

from cluster.config import ClusterConfig
from cluster.serving.app import IN_ONE_CALL
from cluster.serving.http.unary_answer import MAX_TRIES
from cluster.serving.names import INGRESS
from cluster.serving.replica.backends import fake_reward
from cluster.types import TokenIds

APP = "dying-ingress"
PATH = "/v1/score"
N = 16
"""Requests under way."""


def bodies(seed: int) -> list[list[TokenIds]]:
    """Each test has its own: finished scores are remembered."""
    rng = np.random.default_rng(seed)
    return [sequences(8, rng) for _ in range(N)]


def body_of(ids: list[TokenIds]) -> dict[str, Any]:
    return {"conversations": [{"ids": each.tolist()} for each in ids]}


class Caller:
    """Posts of ids, several at a time."""

    def __init__(self, port: int, pool: ThreadPoolExecutor) -> None:
        self.port, self._pool = port, pool

    def post(self, ids: list[TokenIds], chunked: bool = False) -> tuple[int, Any]:
        """The status and the JSON of the answer. chunked: the body does not come along."""
        return raw_http.post(self.port, PATH, body_of(ids), chunked)

    def posts(self, seed: int, chunked: bool = False) -> list[Future[tuple[int, Any]]]:
        return [self._pool.submit(self.post, ids, chunked) for ids in bodies(seed)]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def caller(
    ray_cluster: Cluster, configure: Callable[..., ClusterConfig], http_port: int, gate: Gate
) -> Iterator[Caller]:
    with (
        service(configure(), APP, {"num_replicas": 1}, gated(gate), route_prefix="/"),
        ThreadPoolExecutor(N) as pool,
    ):
        made = Caller(http_port, pool)
        until(lambda: made.post(bodies(0)[0])[0] == 200)
        yield made


def n_inside() -> int:
    """Requests that the living Ingress has accepted and not answered."""
    handle = serve.get_deployment_handle(INGRESS, APP)
    count: int = handle.n_inside.remote().result(timeout_s=PATIENCE_S)
    return count


def kill_the_ingress() -> None:
    kill(*actors("Ingress", APP).values())


def expected(ids: list[TokenIds]) -> list[float]:
    return [fake_reward(each, "r1") for each in ids]


def rewards(answer: Any) -> list[float]:
    return [item["reward"] for item in answer["results"]]


def errors(answers: list[tuple[int, Any]]) -> list[tuple[int, str]]:
    return [(status, told["error"]["code"]) for status, told in answers]


@pytest.mark.ray
def test_an_ingress_killed_under_load_costs_no_request(caller: Caller, gate: Gate) -> None:
    with gate.shut():
        asked = caller.posts(seed=1)
        until(lambda: n_inside() == N)
        kill_the_ingress()
        until(lambda: n_inside() == N)
    for ids, each in zip(bodies(1), asked, strict=True):
        status, answer = each.result()
        assert status == 200, answer
        assert rewards(answer) == expected(ids)


@pytest.mark.ray
def test_a_request_that_no_ingress_survives_is_a_503(caller: Caller, gate: Gate) -> None:
    with gate.shut():
        asked = caller.posts(seed=2)
        for _ in range(MAX_TRIES):
            until(lambda: n_inside() == N)
            kill_the_ingress()
        answers = [each.result() for each in asked]
    assert errors(answers) == [(503, "not_ready")] * N
    until(lambda: caller.post(bodies(4)[0])[0] == 200)


@pytest.mark.ray
def test_a_body_that_does_not_come_along_is_lost_with_its_ingress_and_a_503(
    caller: Caller, gate: Gate
) -> None:
    with gate.shut():
        asked = caller.posts(seed=3, chunked=True)
        until(lambda: n_inside() == N)
        kill_the_ingress()
        answers = [each.result() for each in asked]
    assert errors(answers) == [(503, "not_ready")] * N
    until(lambda: caller.post(bodies(4)[1], chunked=True)[0] == 200)


@pytest.mark.ray
def test_a_new_ingress_takes_over_without_a_lost_request(
    caller: Caller, configure: Callable[..., ClusterConfig], gate: Gate
) -> None:
    ended = threading.Event()

    def post_on(seed: int) -> list[int]:
        rng = np.random.default_rng(seed)
        found = []
        while not ended.is_set():
            found.append(caller.post(sequences(1, rng))[0])
        return found

    old = set(actors("Ingress", APP))
    changed = configure(http={"max_requests": 100})
    with ThreadPoolExecutor(4) as pool:
        posting = [pool.submit(post_on, seed) for seed in range(10, 14)]
        try:
            deploy(changed, APP, {"num_replicas": 1}, gated(gate), route_prefix="/")
            until(lambda: not old & set(actors("Ingress", APP)))
        finally:
            ended.set()
    statuses = [status for each in posting for status in each.result()]
    assert set(statuses) == {200}


@pytest.mark.ray
def test_a_request_that_follows_at_once_on_the_same_connection_has_its_own_body(
    caller: Caller,
) -> None:
    """A proxy may begin it in the task of the one before, whose body came along."""
    first, second = bodies(5)[:2]
    requests = [
        raw_http.request(PATH, json.dumps(body_of(first)).encode()),
        raw_http.request(PATH, json.dumps(body_of(second)).encode(), chunked=True),
    ]
    answers = raw_http.posts(caller.port, requests)
    assert [rewards(answer) for _, answer in answers] == [expected(first), expected(second)]


IN_A_PROXY = """
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cluster":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
from ray import cloudpickle
from ray.serve.request_router import RunningReplica

RunningReplica.try_send_request = lambda self, pr, with_rejection: "as Serve does"
router = cloudpickle.loads(Path(sys.argv[1]).read_bytes())
replica = object.__new__(router.create_replica_wrapper.__globals__["UnaryIngress"])
replica._actor_handle, replica._router = None, None
replica._replica_info = SimpleNamespace(replica_metadata={})
print(replica.try_send_request(None, True))
older = "cluster.serving.http.unary_answer"
sys.modules[older] = ModuleType(older)
print(replica.try_send_request(None, True))
"""


def test_a_proxy_without_the_package_or_an_older_one_sends_requests_as_serve_does(
    tmp_path: Path,
) -> None:
    """Where an application brings the package in its runtime environment, proxies have none."""
    config: Any = RequestRouterConfig(**IN_ONE_CALL)
    file = tmp_path / "router"
    file.write_bytes(config._serialized_request_router_cls)
    said = subprocess.run(
        [sys.executable, "-c", IN_A_PROXY, str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert said.stdout.split("\n")[:2] == ["as Serve does"] * 2
