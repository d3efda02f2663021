"""The application itself: what `build` refuses, and a config file served for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import ray
import yaml
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.exceptions import RayServeException
from support.serving import PATIENCE_S, client_of, until

from cluster.config import ClusterConfig, EngineConfig, HttpConfig
from cluster.errors import ConfigError
from cluster.serving.app import assemble, build, gpus_a_replica, ingress_options
from cluster.serving.deployment.deploy import check_resources, deploy, wait_until_running, with_keys
from cluster.serving.deployment.serve_config import load_config_file
from cluster.serving.http.api_keys import SETTING, VARIABLE
from cluster.serving.replica.backends import fake_reward

CHEAP: dict[str, Any] = {"engine": {"device": "cpu"}, "replica": {"backend": "sleep"}}


def gpus(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": float(n)})


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ({"engin": {}}, "engin"),
        ({"engine": {"token_budgt": 3}}, "token_budgt"),
        ({"engine": {"token_budget": 0}}, "token_budget"),
        ({"scheduler": {"max_queued_tokens": 10}}, "max_queued_tokens"),
        ({"replica": {"backend": "torch"}}, "backend"),
    ],
)
def test_a_typo_or_an_impossible_budget_is_refused_by_name(args: Any, named: str) -> None:
    with pytest.raises(RayServeException, match=named):
        build({**CHEAP, **args})


def test_a_gpu_that_no_node_has_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    with pytest.raises(ConfigError, match="reward-cluster serve --local"):
        assemble(ClusterConfig(engine=EngineConfig(device="cuda")))


@pytest.mark.parametrize(
    ("device", "n_gpus", "wanted"), [("auto", 0, 0), ("auto", 2, 1), ("cuda", 1, 1), ("cpu", 1, 0)]
)
def test_a_replica_takes_a_gpu_where_the_config_and_the_cluster_have_one(
    monkeypatch: pytest.MonkeyPatch, device: str, n_gpus: int, wanted: int
) -> None:
    gpus(monkeypatch, n_gpus)
    assert gpus_a_replica(ClusterConfig(engine=EngineConfig(device=device))) == wanted


@pytest.fixture
def config_path(tmp_path: Path, configure: Callable[..., ClusterConfig]) -> Path:
    """What `serve --local` serves, with fake GPUs in place of the model."""
    values = yaml.safe_load(
        (
            Path(__file__).resolve().parents[2] / "cluster/assets/configs/serve_local.yaml"
        ).read_text()
    )
    config = configure()
    (app,) = values["applications"]
    app |= {"name": "from-file", "route_prefix": "/from-file"}
    app["args"] = {
        "engine": {"model": config.engine.model, "revision": "r1", "device": "cpu"},
        "replica": {"backend": "sleep"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.ray
def test_a_config_file_is_served_as_it_stands(ray_cluster: Cluster, config_path: Path) -> None:
    schema = load_config_file(config_path)
    check_resources(schema)
    deploy(schema)
    try:
        assert list(wait_until_running(schema, PATIENCE_S))[-1] == "from-file RUNNING"
        with client_of("from-file") as client:
            ids = np.arange(9, dtype=np.int32)
            (score,) = ray.get(client.score.remote([ids]))
        assert score.reward == fake_reward(ids, "r1")
    finally:
        serve.delete("from-file")


@pytest.mark.ray
def test_a_config_that_cannot_work_ends_with_its_own_message(
    ray_cluster: Cluster, config_path: Path
) -> None:
    values = yaml.safe_load(config_path.read_text())
    values["applications"][0]["args"]["engine"]["device"] = "cuda"
    values["applications"][0]["args"]["replica"]["backend"] = "engine"
    del values["applications"][0]["deployments"][0]["ray_actor_options"]
    config_path.write_text(yaml.safe_dump(values))
    schema = load_config_file(config_path)
    deploy(schema)
    try:
        with pytest.raises(ConfigError, match=r"no node of the Ray cluster has a GPU") as caught:
            list(wait_until_running(schema, PATIENCE_S))
        assert "Traceback" not in str(caught.value)
    finally:
        serve.delete("from-file")


@pytest.mark.ray
def test_gpus_asked_for_in_serves_own_block_are_checked_before_deploying(
    ray_cluster: Cluster, config_path: Path
) -> None:
    values = yaml.safe_load(config_path.read_text())
    values["applications"][0]["deployments"][0]["ray_actor_options"] = {"num_gpus": 1}
    args = values["applications"][0]["args"]
    args["engine"]["device"] = "auto"
    config_path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="asks for 1 GPU"):
        check_resources(load_config_file(config_path))
    args["replica"]["gpus_may_join"] = True
    config_path.write_text(yaml.safe_dump(values))
    check_resources(load_config_file(config_path))


def test_keys_are_read_where_the_application_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For plain `serve run`: every Ingress gets the same, wherever it runs."""
    monkeypatch.setenv(VARIABLE, "a,b")
    assert len(ingress_options(ClusterConfig())["user_config"][SETTING]) == 2
    monkeypatch.delenv(VARIABLE)
    assert ingress_options(ClusterConfig())["user_config"] == {SETTING: []}


def test_a_keys_file_that_is_not_here_is_left_to_the_ingress() -> None:
    elsewhere = ClusterConfig(http=HttpConfig(keys_file="/nowhere/keys"))
    assert ingress_options(elsewhere)["user_config"] == {}


@pytest.mark.ray
def test_the_keys_of_the_deploying_process_lock_a_service_on_a_ray_that_runs_already(
    ray_cluster: Cluster, config_path: Path, http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{http_port}/from-file/v1/model"

    def status(key: str | None) -> int:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.get(url, headers=headers, timeout=PATIENCE_S).status_code

    try:
        for keys, words in (("first,second", "2 keys"), ("third", "1 key")):
            monkeypatch.setenv(VARIABLE, keys)
            schema, access = with_keys(load_config_file(config_path))
            assert access == words
            assert keys not in repr(schema)
            deploy(schema)
            for _ in wait_until_running(schema, PATIENCE_S):
                pass
            first = keys.split(",")[0]
            until(lambda first=first: status(first) == 200)  # type: ignore[misc]
            assert (status(None), status("wrong")) == (401, 401)
        assert status("first") == 401, "a key that was taken away"
    finally:
        serve.delete("from-file")
