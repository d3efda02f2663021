"""Trainers' hooks inside a Ray job: the actor client is found, and Ray Data scores through a live
app by its own processor and by ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.integrations import nemo_rl, service
from cluster.integrations.ray_data import RewardProcessorConfig, build_processor
from cluster.integrations.service import HookService
from cluster.serving.client.connect import disconnect
from cluster.serving.replica.backends import fake_reward
from cluster.serving.status import snapshot

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]

CHATS = [("Hi", "Hello!"), ("Hi", "Bananas.")]


@pytest.fixture(scope="module")
def rewards(byte_tokenizer: str) -> list[float]:
    encoder = ChatEncoder.load(EngineConfig(model=byte_tokenizer))
    return [fake_reward(encoder.encode(chat).input_ids, "r1") for chat in CHATS]


@pytest.fixture
def app(plain_app: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv(service.URL_VARIABLE, raising=False)
    monkeypatch.setenv(service.APP_VARIABLE, plain_app)
    yield plain_app
    disconnect(plain_app)
    service.hook_service.cache_clear()


def test_in_a_job_a_hook_asks_the_actor_sync_and_async(app: str, rewards: list[float]) -> None:
    found = HookService()
    assert found.rewards(CHATS) == rewards
    assert asyncio.run(found.rewards_async(CHATS)) == rewards
    assert service.serves(app)
    assert not service.serves("another")


def test_a_worker_of_the_job_sees_what_its_ray_serves(app: str) -> None:
    look: Any = ray.remote(num_cpus=0)(service.serves)
    assert ray.get([look.remote(app), look.remote("another")]) == [True, False]


def test_nemo_rls_actor_asks_the_app_that_its_config_names(app: str, rewards: list[float]) -> None:
    actor = nemo_rl.RewardClusterEnvironment.options(num_cpus=0).remote({"app": app})
    logs = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        for asked, said in CHATS
    ]
    result = ray.get(actor.step.remote(logs, [None] * 2))
    assert result.rewards.tolist() == pytest.approx(rewards)
    ray.kill(actor)


@pytest.fixture
def dataset(app: str) -> Any:
    pytest.importorskip("pyarrow")
    data: Any = pytest.importorskip("ray.data")
    return data.from_items([{"question": asked, "answer": said} for asked, said in CHATS])


def test_a_data_set_gets_a_reward_a_row_and_an_error_where_it_has_none(
    app: str, dataset: Any, rewards: list[float]
) -> None:
    more = dataset.union(dataset.limit(1).map(lambda row: {**row, "answer": "x" * 50_000}))
    process = build_processor(
        RewardProcessorConfig(app=app, batch_size=8),
        preprocess=lambda row: {"prompt": row["question"], "response": row["answer"]},
        postprocess=lambda row: {name: row[name] for name in ("answer", "reward", "reward_error")},
    )
    rows = {row["answer"]: row for row in process(more).take_all()}
    assert [rows[said]["reward"] for _, said in CHATS] == rewards
    assert [rows[said]["reward_error"] for _, said in CHATS] == ["", ""]
    failed = rows["x" * 50_000]
    assert failed["reward"] is None
    assert failed["reward_error"].endswith("[too_long]")


def test_rays_own_processor_scores_through_the_running_app(
    app: str, dataset: Any, rewards: list[float]
) -> None:
    llm: Any = pytest.importorskip("ray.data.llm")
    config = llm.ServeDeploymentProcessorConfig(
        deployment_name="Ingress",
        app_name=app,
        concurrency=1,
        batch_size=2,
        should_continue_on_error=True,
    )

    def request(row: dict[str, Any]) -> dict[str, Any]:
        chat = [
            {"role": "user", "content": row["question"]},
            {"role": "assistant", "content": row["answer"]},
        ]
        return {"method": "score_row", "request_kwargs": {"messages": chat}, **row}

    process = llm.build_processor(config, preprocess=request)
    counted = n_too_long(app)
    wrong = dataset.limit(1).map(lambda row: {**row, "answer": "x" * 50_000})
    rows = process(dataset.union(wrong)).take_all()
    good = [row["reward"] for row in rows if not row["__inference_error__"]]
    assert sorted(good) == sorted(rewards)
    [error] = [row["__inference_error__"] for row in rows if row["__inference_error__"]]
    assert "TooLong" in error
    assert n_too_long(app) == counted + 1


def n_too_long(app: str) -> int:
    """What the service has counted."""
    totals = snapshot(app).totals
    assert totals is not None
    return totals.errors["too_long"]
