"""The HTTP side in a real Serve: the same rewards as the actor client's, the same manners as in
process, its numbers in Ray's Prometheus endpoint and in `reward-cluster status`."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster
from support import raw_http
from support.gate import Gate, gated
from support.serving import PATIENCE_S, sequences, service, until

from cluster.config import ClusterConfig
from cluster.serving.metrics import ALL, RETRIES
from cluster.serving.replica.backends import fake_reward
from cluster.serving.status import Snapshot, snapshot, throughput

pytestmark = pytest.mark.ray
APP = "http"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """Before every forward."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def client(
    ray_cluster: Cluster,
    http_port: int,
    configure: Callable[..., ClusterConfig],
    logs: Path,
    gate: Gate,
) -> Iterator[httpx.Client]:
    config = configure(
        http={"max_body_bytes": 1_000_000, "max_slow_bodies": 4, "body_timeout_s": 60.0},
        scheduler={"max_queued_tokens": 20_000, "dedupe_s": 0.0},
    )
    url = f"http://127.0.0.1:{http_port}"
    logging = {"encoding": "JSON", "enable_access_log": False, "logs_dir": str(logs)}
    with (
        service(
            config,
            APP,
            {"num_replicas": 2},
            gated(gate),
            route_prefix="/",
            logging_config=logging,
        ),
        httpx.Client(base_url=url, timeout=PATIENCE_S) as made,
    ):
        until(lambda: made.get("/readyz").status_code == 200)
        yield made


def post(client: httpx.Client, ids: list[Any], **terms: Any) -> httpx.Response:
    items = [{"ids": each.tolist()} for each in ids]
    return client.post("/v1/score", json={"conversations": items, **terms})


def test_rewards_are_those_of_the_ids_in_the_order_of_the_request(client: httpx.Client) -> None:
    ids = sequences(200, np.random.default_rng(0))
    answer = post(client, ids)
    assert answer.status_code == 200
    assert [r["reward"] for r in answer.json()["results"]] == [fake_reward(i, "r1") for i in ids]
    assert answer.json()["revision"] == "r1"


def test_an_item_that_the_tokenizer_refuses_harms_no_other(client: httpx.Client) -> None:
    body = {"conversations": [{"text": ""}, {"prompt": "hi", "response": "yo"}, {"ids": [10**6]}]}
    answer = client.post("/v1/score", json=body)
    assert answer.status_code == 200
    first, second, third = answer.json()["results"]
    assert isinstance(second["reward"], float)
    assert {first["error"]["code"], third["error"]["code"]} == {"invalid_input"}


def test_the_request_id_is_echoed_once_and_made_where_none_came(client: httpx.Client) -> None:
    answer = client.get("/v1/model", headers={"X-Request-Id": "mine"})
    assert answer.headers.get_list("x-request-id") == ["mine"]
    assert len(client.get("/v1/model").headers.get_list("x-request-id")) == 1
    body = client.post("/v1/score", content=b"{", headers={"X-Request-Id": "mine"}).json()
    assert body["request_id"] == "mine"


def test_the_model_is_what_the_replicas_have_loaded(client: httpx.Client) -> None:
    model = client.get("/v1/model").json()
    assert (model["revision"], model["architecture"]) == ("r1", "sleep")


def test_more_than_the_queue_holds_is_a_429_that_says_when_to_come_back(
    client: httpx.Client, gate: Gate
) -> None:
    first, second = ([np.full(1000, i, np.int32) for i in range(k, k + 60)] for k in (0, 60))
    with ThreadPoolExecutor(1) as pool:
        with gate.shut():
            flooding = pool.submit(post, client, first)
            until(lambda: queued_tokens() > 5_000)
            answer = post(client, second)
        assert flooding.result().status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert post(client, second).status_code == 200


def test_what_is_not_scored_by_its_deadline_is_a_504(client: httpx.Client, gate: Gate) -> None:
    with gate.shut():
        answer = post(client, [np.full(40, i, np.int32) for i in range(4)], deadline_s=0.5)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"conversations": [{"ids": [1' + b"0" * 5000 + b"]}]}", 400),
        (b" " * 1_000_001, 413),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_hostile_bodies_are_refused_and_the_service_lives_on(
    client: httpx.Client, body: bytes, status: int
) -> None:
    assert client.post("/v1/score", content=body).status_code == status
    assert post(client, [np.array([1, 2])]).status_code == 200


def test_the_log_is_json_and_says_how_a_request_ended_but_not_what_it_held(
    client: httpx.Client, logs: Path
) -> None:
    body = {"conversations": [{"text": "zebra crossing"}]}
    client.post("/v1/score?zebra", json=body, headers={"X-Request-Id": "to-be-logged"})

    def records() -> list[dict[str, Any]]:
        (file,) = logs.glob("*Ingress*.log")
        return [json.loads(line) for line in file.read_text().splitlines()]

    def found() -> list[dict[str, Any]]:
        return [r for r in records() if r.get("request_id") == "to-be-logged" and "event" in r]

    until(lambda: bool(found()))
    (record,) = found()
    assert (record["event"], record["route"], record["status"]) == (
        "http_request",
        "/v1/score",
        200,
    )
    assert "zebra" not in "".join(file.read_text() for file in logs.glob("*.log"))


def test_a_client_that_goes_away_leaves_nothing_waiting(
    client: httpx.Client, http_port: int, gate: Gate
) -> None:
    work = [{"ids": [i] * 3000} for i in range(5)]  # more than two replicas are given at a time
    body = json.dumps({"conversations": work}).encode()
    with gate.shut():
        with socket.create_connection(("127.0.0.1", http_port), timeout=PATIENCE_S) as gone:
            gone.sendall(raw_http.request("/v1/score", body))
            until(lambda: queued_tokens() > 0)
        until(lambda: queued_tokens() == 0)
    assert post(client, [np.array([1, 2])]).status_code == 200


def queued_tokens() -> int:
    queue = snapshot(APP).queue
    return -1 if queue is None else queue.queued_tokens


def test_every_metric_reaches_rays_prometheus_endpoint(client: httpx.Client) -> None:
    assert client.post("/v1/score", content=b"{").status_code == 400
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    url = f"http://127.0.0.1:{nodes[0]['MetricsExportPort']}/metrics"
    wanted = {metric.name for metric in ALL if metric is not RETRIES}  # no replica died here

    group = {"prompt": "Which one is it?", "responses": ["this", "that", "those"]}
    assert client.post("/v1/rank", json=group).status_code == 200

    def page() -> str:
        return httpx.get(url, timeout=PATIENCE_S).text

    def missing() -> set[str]:
        return wanted - set(
            re.findall(r"^ray_(reward_[a-z_]+?)(?:_total|_bucket)?\{", page(), re.M)
        )

    with contextlib.suppress(AssertionError):
        until(lambda: not missing())
    assert missing() == set()
    assert 'application="http"' in page()
    until(lambda: bool(re.search(r'ray_reward_errors_total\{[^}]*code="invalid_input"', page())))


def test_status_sees_replicas_queue_totals_and_what_was_done_meanwhile(
    client: httpx.Client,
) -> None:
    before = whole_look()
    assert post(client, sequences(50, np.random.default_rng(1))).status_code == 200
    after = whole_look()
    assert after.status == "RUNNING"
    replicas = {d.name: d.replicas for d in after.deployments}
    assert replicas["Replica"] == {"RUNNING": 2}
    assert [m.revision for m in after.models] == ["r1", "r1"]
    assert after.queue is not None
    assert after.queue.queued_items == 0
    done = throughput(before, after)
    assert done is not None
    assert done.items_per_s * done.seconds == pytest.approx(50)
    assert done.tokens_per_batch > 0


def whole_look() -> Snapshot:
    """One in which every process has answered in time, as on a machine that is not overloaded."""
    looks: list[Snapshot] = []

    def all_answered() -> bool:
        looks.append(snapshot(APP))
        return len(looks[-1].models) == 2 and None not in (looks[-1].queue, looks[-1].totals)

    until(all_answered)
    return looks[-1]


def test_status_of_an_unknown_app_says_so(client: httpx.Client) -> None:
    assert snapshot("nowhere").status == "NOT_DEPLOYED"


def test_the_status_command_prints_one_look_as_json(client: httpx.Client, ray_cluster: Any) -> None:
    command = [sys.executable, "-c", "from cluster.cli import main; main()", "status"]
    options = ["--once", "--json", "--interval=0.1", f"--address={ray_cluster.address}"]
    done = subprocess.run(
        [*command, *options, "--app", APP], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["status"] == "RUNNING"
    assert len(record["models"]) == 2
    assert record["throughput"]["seconds"] > 0


def test_eleven_hundred_slow_senders_stop_nobody_else(client: httpx.Client, http_port: int) -> None:
    head = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"
    with contextlib.ExitStack() as stack:
        senders = []
        for _ in range(1100):
            sender = socket.create_connection(("127.0.0.1", http_port), timeout=PATIENCE_S)
            senders.append(stack.enter_context(sender))
            sender.sendall(head)
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert post(client, sequences(3, np.random.default_rng(5))).status_code == 200
        assert senders[0].recv(12) == b"HTTP/1.1 408", "the last four have the places"
    assert client.get("/healthz").status_code == 200
