"""One real Ray cluster for all serving tests, and fake GPUs whose rewards a test can predict."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from support.gate import Gate, gated
from support.http import FakeScorer
from support.ports import free_port
from support.serving import client_of, deployed
from support.virtual_time import virtual_time

from cluster.config import ClusterConfig, EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.http.proxy_errors import set_proxy_errors
from cluster.serving.metrics import ServingMetrics
from cluster.settings.parsing import parse_config

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
)


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a byte-level tokenizer and a config, no weights: all that a client needs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("byte-tokenizer"))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    marks = ["<|begin_of_text|>", "<|eot_id|>", "[PAD]", "<|start_header_id|>", "<|end_header_id|>"]
    core.add_special_tokens(marks)
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(
        tokenizer_object=core, bos_token=marks[0], eos_token=marks[1], pad_token=marks[2]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config: Any = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=4096)
    config.num_labels = 1
    config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder(byte_tokenizer: str) -> ChatEncoder:
    return ChatEncoder.load(EngineConfig(model=byte_tokenizer))


@pytest.fixture
def scorer(encoder: ChatEncoder) -> FakeScorer:
    """For the HTTP app in this process."""
    return FakeScorer(encoder)


@pytest.fixture
def metrics() -> ServingMetrics:
    return ServingMetrics()


@pytest.fixture(name="virtual_time")
def _virtual_time() -> Iterator[None]:
    """For `usefixtures`: see support/virtual_time.py."""
    with virtual_time():
        yield


@pytest.fixture(scope="session")
def http_port() -> int:
    """Of Serve's proxy, on loopback."""
    return free_port()


@pytest.fixture(scope="session")
def ray_cluster(http_port: int) -> Iterator[Cluster]:
    """A head node of its own with Serve; tests may add nodes and kill processes."""
    set_proxy_errors()
    head = {"num_cpus": 8, "include_dashboard": False, "object_store_memory": 200 * 2**20}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    http = {"host": "127.0.0.1", "port": http_port}
    serve.start(proxy_location="HeadOnly", http_options=http)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


Configure = Callable[..., ClusterConfig]


@pytest.fixture(scope="session")
def configure(byte_tokenizer: str) -> Configure:
    """A config of fake GPUs: `configure(engine={...}, scheduler={...})` changes sections."""

    def make(**sections: dict[str, Any]) -> ClusterConfig:
        base: dict[str, dict[str, Any]] = {
            "engine": {
                "model": byte_tokenizer,
                "revision": "r1",
                "device": "cpu",
                "token_budget": 2048,
            },
            # 50 us a token: a full batch takes about 0.1 s.
            "replica": {"backend": "sleep", "fake_gpu": {"flops_per_token": 5e-5, "flops": 1.0}},
        }
        return parse_config(
            ClusterConfig,
            {name: base.get(name, {}) | sections.get(name, {}) for name in {*base, *sections}},
        )

    return make


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """Before every forward of `plain_app`."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="session")
def plain_app(ray_cluster: Cluster, configure: Configure, gate: Gate) -> Iterator[str]:
    """The name of an app of two fake GPUs, for all tests that break nothing in it."""
    with deployed(configure(), "plain", {"num_replicas": 2}, gated(gate)):
        yield "plain"


@pytest.fixture(scope="module")
def client(plain_app: str) -> Iterator[Any]:
    """A client actor of `plain_app` for one module, which may kill it."""
    with client_of(plain_app) as actor:
        yield actor
