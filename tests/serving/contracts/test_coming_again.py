"""Clients that give up and come again, and OpenRLHF's posts of one sample, over a real Serve."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from ray import serve
from ray.cluster_utils import Cluster
from support.gate import Gate, gated
from support.serving import PATIENCE_S, deployed, until

from cluster.config import ClusterConfig, EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.batching.queue_state import QueueState
from cluster.serving.batching.replica_pool import MAX_BATCHES_PER_REPLICA
from cluster.serving.metrics import Totals
from cluster.serving.names import INGRESS
from cluster.serving.status import snapshot
from cluster.types import PromptCacheStats

pytestmark = pytest.mark.ray
T = TypeVar("T")
APP = "again"
N_REPLICAS = 2
BODIES: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("/get_reward", lambda x: {"query": [x], "prompts": [""], "labels": [None]}),
    ("/get_reward", lambda x: {"prompt": x, "response": "yes", "label": None}),
    ("/classify", lambda x: {"model": "m", "input": x, "use_activation": False}),
    ("/v1/embeddings", lambda x: {"model": "m", "input": x}),
]
"""Of the clients that repeat a request after a time-out: OpenRLHF, slime, verl's two."""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """Before every forward."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def client(
    ray_cluster: Cluster, http_port: int, configure: Callable[..., ClusterConfig], gate: Gate
) -> Iterator[httpx.Client]:
    replicas = {"num_replicas": N_REPLICAS}
    with (
        deployed(configure(), APP, replicas, gated(gate), route_prefix="/"),
        httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=PATIENCE_S) as made,
    ):
        until(lambda: made.get("/readyz").status_code == 200)
        yield made


def seen(look: Callable[[], T | None]) -> T:
    """What the first look tells in which the service has answered."""
    found: list[T] = []

    def answered() -> bool:
        found.extend(one for one in [look()] if one is not None)
        return bool(found)

    until(answered)
    return found[-1]


def totals() -> Totals:
    return seen(lambda: snapshot(APP).totals)


def queue() -> QueueState:
    return seen(lambda: snapshot(APP).queue)


def n_inside() -> int:
    """Requests that the Ingress is at work on."""
    handle: Any = serve.get_deployment_handle(INGRESS, APP)
    n: int = handle.n_inside.remote().result()
    return n


@contextmanager
def on_a_device(http_port: int, gate: Gate, path: str, body: Any) -> Iterator[None]:
    """While the shut gate holds the forward of `body`; its client gives up behind the block."""
    content, held = json.dumps(body).encode(), gate.n_held
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", http_port), timeout=PATIENCE_S) as gone:
        gone.sendall(head.encode() + content)
        until(lambda: gate.n_held == held + 1)
        yield
    until(lambda: n_inside() == 0)


@pytest.mark.parametrize(("path", "made"), BODIES)
def test_a_client_that_gave_up_is_answered_from_the_score_that_was_finished_meanwhile(
    client: httpx.Client, http_port: int, gate: Gate, path: str, made: Callable[[str], Any]
) -> None:
    body, before = made(f"finished meanwhile {path} {made('')}"), totals().items
    with gate.shut(), on_a_device(http_port, gate, path, body):
        pass
    until(lambda: totals().items == before + 1)
    with gate.shut():  # a second forward would never end
        answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert totals().items == before + 1


@pytest.mark.parametrize(("path", "made"), BODIES)
def test_a_client_that_comes_again_too_soon_waits_for_the_forward_that_is_running(
    client: httpx.Client, http_port: int, gate: Gate, path: str, made: Callable[[str], Any]
) -> None:
    """Although another replica is idle."""
    body, before = made(f"too soon {path} {made('')}"), totals().items
    with ThreadPoolExecutor(1) as pool:
        with gate.shut():
            with on_a_device(http_port, gate, path, body):
                held = gate.n_held
            again = pool.submit(client.post, path, json=body)
            until(lambda: n_inside() == 1)
            other = pool.submit(client.post, path, json=body)
        assert again.result().status_code == other.result().status_code == 200
    assert (gate.n_held, totals().items) == (held, before + 1)


def templated(prompt: str, response: str) -> str:
    """As OpenRLHF sends a sample, special tokens kept."""
    return (
        f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{prompt}<|eot_id|>"
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{response}<|eot_id|>"
    )


def one_sample(client: httpx.Client, prompt: str, response: str) -> httpx.Response:
    body = {"query": [templated(prompt, response)], "prompts": [prompt], "labels": [None]}
    return client.post("/get_reward", json=body)


def test_posts_of_one_sample_are_regrouped_by_prompt_in_the_queue(
    client: httpx.Client, gate: Gate, byte_tokenizer: str
) -> None:
    """They come one prompt after the other, in turn; each prompt is computed once."""
    prompts = [f"What is {i} times {i}?" for i in range(11, 15)]
    samples = [(prompt, str(i)) for i in range(4) for prompt in prompts]
    n_before = N_REPLICAS * MAX_BATCHES_PER_REPLICA
    with ThreadPoolExecutor(n_before + len(samples)) as pool:
        with gate.shut():
            posts = []
            for i in range(n_before):
                busy = queue().running_tokens
                posts.append(pool.submit(one_sample, client, f"before {i}", "x"))
                until(lambda busy=busy: queue().running_tokens > busy)  # type: ignore[misc]
            before = totals()
            posts += [pool.submit(one_sample, client, *sample) for sample in samples]
            until(lambda: queue().queued_items == len(samples))
        assert {post.result().status_code for post in posts} == {200}
    until(lambda: totals().items == before.items + len(posts))
    encoder = ChatEncoder.load(EngineConfig(model=byte_tokenizer))
    shared = sum(encoder.encode(templated(prompt, "x")).prompt_len for prompt in prompts)
    assert totals().saved_tokens - before.saved_tokens == 3 * shared > 0


def test_posts_one_after_another_find_their_prompt_where_it_was_computed(
    ray_cluster: Cluster,
    http_port: int,
    configure: Callable[..., ClusterConfig],
    random_checkpoint: Path,
) -> None:
    """Through the real engine: a prompt is computed once, although two replicas are idle."""
    engine = {"model": str(random_checkpoint), "revision": None}
    config = configure(engine=engine, replica={"backend": "engine"})
    url = f"http://127.0.0.1:{http_port}/kept"
    with (
        deployed(config, "kept", {"num_replicas": N_REPLICAS}, route_prefix="/kept"),
        httpx.Client(base_url=url, timeout=PATIENCE_S) as client,
    ):
        until(lambda: client.get("/readyz").status_code == 200)
        for response in ("Yes.", "No.", "Perhaps."):
            for prompt in ("Is it odd?", "Is it even?"):
                assert one_sample(client, prompt, response).status_code == 200

        def all_answered() -> PromptCacheStats | None:
            found = snapshot("kept").prompts
            return found if found and found.hits + found.misses == 6 else None

        found = seen(all_answered)
    assert (found.misses, found.hits) == (2, 4)
