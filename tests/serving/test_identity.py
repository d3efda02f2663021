"""The number belongs to the model it names: apps, tokenizers, rolls and broken weights for real."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.schema import ServeDeploySchema
from support.serving import PATIENCE_S, client_of, service, until

from cluster.config import ClusterConfig, EngineConfig, FakeGpuConfig
from cluster.engine.checkpoint import locate
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.offline import OfflineScorer
from cluster.errors import TooLong
from cluster.serving.client.connect import RewardService, connect, disconnect
from cluster.serving.deployment.deploy import deploy
from cluster.serving.replica.backends import SleepBackend, fake_reward
from cluster.types import Conversation, Score

pytestmark = pytest.mark.ray
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

CHATS: list[Conversation] = [("What is 2 + 2?", "4"), ("What is 2 + 2?", "5"), ("Hi", "Hello!")]
OTHERS: list[Conversation] = [("Name a prime.", "7"), ("Name a prime.", "8")]


class Encoded(SleepBackend):
    """A fake GPU that takes only what its own model's tokenizer encoded."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, FakeGpuConfig(flops_per_token=0.0))
        encoder = ChatEncoder.load(config)
        self.info = dataclasses.replace(self.info, encoder=encoder.fingerprint)


def other_template(source: Path, folder: Path) -> str:
    """A copy of the model whose template ends every turn with one more line."""
    from transformers import AutoTokenizer

    shutil.copytree(source, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|eot_id|>", "\n!<|eot_id|>")
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def other_tokenizer(byte_tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return other_template(Path(byte_tokenizer), tmp_path_factory.mktemp("other") / "byte")


def fake(model: str, revision: str = "r1") -> list[float]:
    """What fake GPUs answer to CHATS."""
    encoder = ChatEncoder.load(EngineConfig(model=model))
    return [fake_reward(encoder.encode(chat).input_ids, revision) for chat in CHATS]


def rewards(items: Any) -> list[float]:
    assert all(isinstance(item, Score) for item in items), items
    return [item.reward for item in items]


def test_a_client_belongs_to_one_app_and_encodes_for_what_that_serves_after_a_redeploy(
    ray_cluster: Cluster,
    configure: Callable[..., ClusterConfig],
    byte_tokenizer: str,
    other_tokenizer: str,
) -> None:
    one, two = configure(), configure(engine={"model": other_tokenizer})
    assert fake(byte_tokenizer) != fake(other_tokenizer)
    with service(two, "app-two", {"num_replicas": 1}, Encoded):
        with service(one, "app-one", {"num_replicas": 1}, Encoded):
            first, second = RewardService("app-one"), RewardService("app-two")
            assert rewards(first.score(CHATS, deadline_s=PATIENCE_S)) == fake(byte_tokenizer)
            assert rewards(second.score(CHATS, deadline_s=PATIENCE_S)) == fake(other_tokenizer)
            assert connect("app-one")._actor_id == first.client._actor_id
        again = configure(engine={"model": other_tokenizer, "revision": "r2", "max_tokens": 60})
        with service(again, "app-one", {"num_replicas": 1}, Encoded):
            scores = first.score(CHATS, deadline_s=PATIENCE_S)
            assert rewards(scores) == fake(other_tokenizer, "r2")
            (refused,) = first.score([[1] * 61])
            assert isinstance(refused, TooLong), "the new limit holds as well"
    for app in ("app-one", "app-two"):
        assert disconnect(app)
        assert not disconnect(app)


class Rolling:
    """One replica of the real engine, whose weights `user_config` names."""

    app = "identity"

    def to(self, model: str) -> None:
        """Deploy, and wait until the replica serves the model or says why not."""
        replica = {
            "name": "Replica",
            "num_replicas": 1,
            "user_config": {"model": model},
            "ray_actor_options": {"num_cpus": 1},
        }
        args = {"engine": {"device": "cpu", "dtype": "float32"}}
        block = {"name": self.app, "route_prefix": None, "deployments": [replica], "args": args}
        block["import_path"] = "cluster.serving.app:build"
        deploy(ServeDeploySchema.model_validate({"applications": [block]}))
        until(lambda: self.app in serve.status().applications and self.status() != "DEPLOYING")
        until(lambda: self.info().model == model or model in str(self.info().load_error))
        until(lambda: self.status() != "DEPLOYING")

    def status(self) -> str:
        return str(serve.status().applications[self.app].status.value)

    def info(self) -> Any:
        """What the replica says of itself."""
        return serve.get_deployment_handle("Replica", self.app).info.remote().result()


@pytest.fixture(scope="module")
def rolling(ray_cluster: Cluster) -> Iterator[Rolling]:
    service = Rolling()
    service.to("tiny")
    yield service
    serve.delete(service.app)


@pytest.fixture(scope="module")
def client(rolling: Rolling) -> Iterator[Any]:
    with client_of(rolling.app) as actor:
        yield actor


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return other_template(Path(locate("tiny")), tmp_path_factory.mktemp("models") / "other")


def right(model: str, chats: list[Conversation]) -> list[float]:
    """The engine's own rewards."""
    config = EngineConfig(model=model, device="cpu", dtype="float32")
    return rewards(OfflineScorer.load(config).score(chats))


def test_weights_that_cannot_be_loaded_leave_a_single_replica_serving(
    rolling: Rolling, client: Any
) -> None:
    expected = right("tiny", CHATS)
    assert rewards(ray.get(client.score.remote(CHATS, 0, PATIENCE_S))) == expected
    rolling.to("/nowhere")
    assert rolling.status() == "RUNNING"
    assert rolling.info().model == "tiny"
    assert rewards(ray.get(client.score.remote([*CHATS, *OTHERS], 0, PATIENCE_S))) == [
        *expected,
        *right("tiny", OTHERS),
    ]
    rolling.to("tiny")
    assert rolling.info().load_error is None


def test_a_roll_takes_the_tokenizer_and_the_kept_answers_with_it_forward_and_back(
    rolling: Rolling, client: Any, other_model: str
) -> None:
    """With the default `dedupe_s`: the same chats again, alone and beside new ones."""
    assert right("tiny", CHATS) != right(other_model, CHATS)
    for model, new in (("tiny", OTHERS), (other_model, OTHERS), ("tiny", OTHERS[:1])):
        rolling.to(model)
        together = [*CHATS, *new]
        for _ in range(2):  # the second time from the kept answers
            scores = ray.get(client.score.remote(together, 0, PATIENCE_S))
            assert rewards(scores) == right(model, together)
            assert {score.model for score in scores} == {model}
