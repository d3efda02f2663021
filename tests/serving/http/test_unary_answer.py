"""Requests that come with their body: one call of an Ingress, and of another one if that dies."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.config import RequestRouterConfig
from support.gate import Gate, gated
from support.processes import actors, kill
from support.serving import PATIENCE_S, sequences, service, until

from cluster.config import ClusterConfig
from cluster.serving.app import INGRESS_OPTIONS
from cluster.serving.names import INGRESS
from cluster.serving.replica.backends import fake_reward
from cluster.types import TokenIds

APP = "dying-ingress"
N = 16
"""Requests under way."""


def bodies(seed: int) -> list[list[TokenIds]]:
    """Each test has its own: finished scores are remembered."""
    rng = np.random.default_rng(seed)
    return [sequences(8, rng) for _ in range(N)]


class Caller:
    """Posts of ids, several at a time."""

    def __init__(self, http: httpx.Client, pool: ThreadPoolExecutor) -> None:
        self.http, self._pool = http, pool

    def post(self, ids: list[TokenIds], chunked: bool = False) -> httpx.Response:
        """chunked: without a length, so that the body does not come along."""
        items = [{"ids": each.tolist()} for each in ids]
        body = json.dumps({"conversations": items}).encode()
        headers = {"content-type": "application/json"}
        content: Any = iter([body]) if chunked else body
        return self.http.post("/v1/score", content=content, headers=headers)

    def posts(self, seed: int, chunked: bool = False) -> list[Future[httpx.Response]]:
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
        httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=PATIENCE_S) as http,
        ThreadPoolExecutor(N) as pool,
    ):
        until(lambda: http.get("/readyz").status_code == 200)
        yield Caller(http, pool)


def n_inside() -> int:
    """Requests that the living Ingress has accepted and not answered."""
    handle = serve.get_deployment_handle(INGRESS, APP)
    count: int = handle.n_inside.remote().result(timeout_s=PATIENCE_S)
    return count


def kill_the_ingress() -> None:
    kill(*actors("Ingress", APP).values())


@pytest.mark.ray
def test_an_ingress_killed_under_load_costs_no_request(caller: Caller, gate: Gate) -> None:
    with gate.shut():
        asked = caller.posts(seed=1)
        until(lambda: n_inside() == N)
        kill_the_ingress()
        until(lambda: n_inside() == N)
    for ids, answer in zip(bodies(1), asked, strict=True):
        found = answer.result()
        assert found.status_code == 200, found.text
        rewards = [item["reward"] for item in found.json()["results"]]
        assert rewards == [fake_reward(each, "r1") for each in ids]


@pytest.mark.ray
def test_a_request_that_two_ingresses_died_of_is_a_503(caller: Caller, gate: Gate) -> None:
    with gate.shut():
        asked = caller.posts(seed=2)
        for _ in range(2):
            until(lambda: n_inside() == N)
            kill_the_ingress()
        answers = [each.result() for each in asked]
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["error"]["code"] for answer in answers} == {"not_ready"}
    until(lambda: caller.post(bodies(4)[0]).status_code == 200)


@pytest.mark.ray
def test_a_body_that_does_not_come_along_is_lost_with_its_ingress_and_a_503(
    caller: Caller, gate: Gate
) -> None:
    with gate.shut():
        asked = caller.posts(seed=3, chunked=True)
        until(lambda: n_inside() == N)
        kill_the_ingress()
        answers = [each.result() for each in asked]
    assert {answer.status_code for answer in answers} == {503}
    until(lambda: caller.post(bodies(4)[0], chunked=True).status_code == 200)


WITHOUT_THE_PACKAGE = """
import sys
from pathlib import Path

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cluster":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
from types import SimpleNamespace
from ray import cloudpickle
from ray.serve.request_router import RunningReplica

RunningReplica.try_send_request = lambda self, pr, with_rejection: "as Serve does"
router = cloudpickle.loads(Path(sys.argv[1]).read_bytes())
replica = object.__new__(router.create_replica_wrapper.__globals__["UnaryIngress"])
request = SimpleNamespace(metadata=SimpleNamespace(is_http_request=True))
print(replica.try_send_request(request, True))
"""


def test_a_proxy_without_the_package_sends_requests_as_serve_does(tmp_path: Path) -> None:
    """Where an application brings the package in its runtime environment, proxies have none."""
    config: Any = RequestRouterConfig(**INGRESS_OPTIONS["request_router_config"])
    file = tmp_path / "router"
    file.write_bytes(config._serialized_request_router_cls)
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert said.stdout.strip() == "as Serve does"
