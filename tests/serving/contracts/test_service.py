"""Each dialect through a real Serve: the number that the client reads is the native route's."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from ray.cluster_utils import Cluster
from support.serving import PATIENCE_S, deployed, until

from cluster.config import ClusterConfig
from cluster.serving.http.dialects.triton.tensors import HEADER_LENGTH

pytestmark = pytest.mark.ray
TEXT = "a text that is templated"


@pytest.fixture(scope="module")
def client(
    ray_cluster: Cluster, http_port: int, configure: Callable[..., ClusterConfig]
) -> Iterator[httpx.Client]:
    url = f"http://127.0.0.1:{http_port}"
    with (
        deployed(configure(), "dialects", {"num_replicas": 1}, route_prefix="/"),
        httpx.Client(base_url=url, timeout=PATIENCE_S) as made,
    ):
        until(lambda: made.get("/readyz").status_code == 200)
        yield made


def verl_reads(answer: Any) -> Any:
    """verl's DisRM over vLLM."""
    return answer["data"][-1]["probs"][-1]


def verls_router_reads(answer: Any) -> Any:
    """verl's DisRM over SGLang."""
    return answer["data"][-1]["embedding"][-1]


def openrlhf_reads(answer: Any) -> Any:
    """`rewards`, or `scores` in its place; both are the same, and the extra logs numeric."""
    assert answer["scores"] == answer["rewards"]
    assert all(isinstance(value, float) for (value,) in answer["extra_logs"].values())
    (reward,) = answer.get("rewards", answer.get("scores"))
    return reward


READERS: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("/get_reward", {"query": [TEXT], "prompts": ["a"], "labels": [None]}, openrlhf_reads),
    ("/classify", {"model": "m", "input": TEXT, "use_activation": False}, verl_reads),
    ("/v1/embeddings", {"model": "m", "input": TEXT}, verls_router_reads),
    ("/pooling", {"model": "m", "input": TEXT}, lambda a: a["data"][0]["data"][0]),
    ("/classify", {"text": TEXT}, lambda a: a["embedding"][0]),
    ("/v1/score/evaluation", {"messages": [TEXT]}, lambda a: a["scores"][0]),
    ("/predict", {"inputs": TEXT, "raw_scores": True}, lambda a: a[0]["score"]),
    ("/classify", {"input": [TEXT], "raw_scores": True}, lambda a: a["data"][0][0]["score"]),
    (
        "/v2/models/reward_model/infer",
        {"inputs": [{"name": "sentences", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]},
        lambda a: a["outputs"][0]["data"][0],
    ),
]


def test_every_client_reads_the_native_number_of_a_text(client: httpx.Client) -> None:
    native = client.post("/v1/score", json={"conversations": [{"text": TEXT}]}).json()
    reward = native["results"][0]["reward"]
    for path, body, read in READERS:
        answer = client.post(path, json=body)
        assert answer.status_code == 200, (path, answer.text)
        assert read(answer.json()) == reward, path


def test_what_clients_ask_first_is_told_of_the_model_that_serves(client: httpx.Client) -> None:
    native = client.get("/v1/model").json()
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["max_model_len"]) == (native["model"], native["max_tokens"])
    assert client.get("/get_model_info").json()["model_path"] == native["model"]
    assert client.get("/info").json()["max_input_length"] == native["max_tokens"]


def test_binary_tensors_pass_serves_proxy_both_ways(client: httpx.Client) -> None:
    native = client.post("/v1/score", json={"conversations": [{"text": TEXT}]}).json()
    data = struct.pack("<I", len(TEXT)) + TEXT.encode()
    tensor = {"name": "sentences", "shape": [1, 1], "datatype": "BYTES"}
    described = {**tensor, "parameters": {"binary_data_size": len(data)}}
    body = {"inputs": [described], "parameters": {"binary_data_output": True}}
    head = json.dumps(body).encode()
    path, headers = "/v2/models/reward_model/infer", {HEADER_LENGTH: str(len(head))}
    answer = client.post(path, content=head + data, headers=headers)
    assert answer.status_code == 200, answer.text
    (reward,) = struct.unpack("<f", answer.content[int(answer.headers[HEADER_LENGTH]) :])
    assert reward == np.float32(native["results"][0]["reward"])
    assert client.get("/v2/health/ready").status_code == 200


def test_pairs_are_scored_as_a_prompt_and_its_response(client: httpx.Client) -> None:
    native = client.post("/v1/score", json={"conversations": [{"prompt": "p", "response": "r"}]})
    reward = native.json()["results"][0]["reward"]
    slime = client.post("/get_reward", json={"prompt": "p", "response": "r", "label": None})
    assert slime.json() == reward
    vllm = client.post("/v1/score", json={"text_1": "p", "text_2": "r"})
    assert vllm.json()["data"][0]["score"] == reward


def test_a_text_that_is_too_long_is_the_dialects_own_error(client: httpx.Client) -> None:
    answer = client.post("/classify", json={"input": ["a", "x" * 5000]})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "BadRequestError"
    assert "item 1" in answer.json()["error"]["message"]
