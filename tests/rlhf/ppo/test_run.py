"""PPO runs on a real Ray with a real service: whole, killed, with workers that die, with errors."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import ray
from support.dying import killed_in

from cluster.config import ClusterConfig
from cluster.data.rejects import Rejects
from cluster.errors import ConfigError, InvalidInput, NotReady, RewardError
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.ppo import collector
from cluster.rlhf.ppo.collector import Collector
from cluster.rlhf.ppo.config import PpoRun
from cluster.rlhf.ppo.learner import Learner
from cluster.rlhf.ppo.rollouts import weights_of
from cluster.rlhf.ppo.run import run_ppo
from cluster.rlhf.ppo.step_metrics import StepRow
from cluster.serving.deployment.local_cluster import local_service
from cluster.settings.parsing import parse_config
from cluster.types import Conversation, Score

pytestmark = pytest.mark.ray
MEASURED = ("generating_s", "waiting_s", "learning_s", "step_s")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_service(
        ClusterConfig(), replica_options={"ray_actor_options": {"num_cpus": 1}}
    ) as handle:
        yield handle


def settings(tmp_path: Path, small_policy: Path, **ppo: Any) -> PpoRun:
    small = {
        "steps": 3,
        "prompts": 6,
        "chunk": 2,
        "workers": 2,
        "sampling": {"n": 2, "max_new_tokens": 8},
        "mini_batch_size": 4,
        "checkpoint_every": 2,
    }
    values = {"out": str(tmp_path / "run"), "policy": str(small_policy), "ppo": small | ppo}
    return parse_config(PpoRun, values)


def done(config: PpoRun, client: Any) -> list[StepRow]:
    rows: list[StepRow] = []
    run_ppo(config, client, rows.append, Rejects(None))
    return rows


def timeless(folder: str) -> list[dict[str, Any]]:
    lines = (Path(folder) / "log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]


def test_with_futures_and_without_the_same_is_learnt_and_written(
    client: Any, tmp_path: Path, small_policy: Path
) -> None:
    runs = []
    for name, ppo in (("a", {"futures": True}), ("b", {"futures": False, "workers": 1})):
        config = settings(tmp_path / name, small_policy, **ppo)
        rows = done(config, client)
        assert [row.step for row in rows] == [1, 2, 3]
        assert all(row.responses == 12 and row.failed == 0 for row in rows)
        runs.append((timeless(config.out), weights_of(Policy.load(f"{config.out}/policy"))))
        assert (Path(config.out) / "ppo.png").read_bytes().startswith(b"\x89PNG")
    assert runs[0][0] == runs[1][0]
    start = weights_of(Policy.load(str(small_policy)))
    for name, value in runs[0][1].items():
        assert (value == runs[1][1][name]).all()
    assert any((value != start[name]).any() for name, value in runs[0][1].items())


def test_workers_that_die_in_the_middle_of_their_calls_lose_no_response(
    client: Any, tmp_path: Path, small_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, small_policy).ppo
    weights = weights_of(Policy.load(str(small_policy)))
    prompts = [[{"role": "user", "content": f"Say {i}."}] for i in range(6)]
    collector = Collector(config, str(small_policy), client, print)
    calm = collector.collect(weights, prompts, 1)  # type: ignore[arg-type]
    pids = ray.get([worker.pid.remote() for worker in collector._workers])
    score, left = collector._score, [*pids]

    def score_once_they_are_dead(conversations: Any) -> Any:
        while left:
            os.kill(left.pop(), signal.SIGKILL)
        return score(conversations)

    monkeypatch.setattr(collector, "_score", score_once_they_are_dead)
    for each in pids:
        os.kill(each, signal.SIGSTOP)  # they are given their calls, and answer none
    again = collector.collect(weights, prompts, 1)  # type: ignore[arg-type]
    assert set(pids).isdisjoint(ray.get([worker.pid.remote() for worker in collector._workers]))
    assert again.rollouts == calm.rollouts
    assert [r.reward for r in again.results if isinstance(r, Score)] == [
        r.reward for r in calm.results if isinstance(r, Score)
    ]
    assert len(again.results) == 12


@ray.remote
class Refusing:
    """A client that refuses every third conversation, and thinks all others worth 2."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def score(
        self, conversations: Sequence[Conversation], *terms: Any
    ) -> list[Score | RewardError]:
        results = ray.get(self._client.score.remote(list(conversations)))
        if len(results) == 1:
            return list(results)  # asked which model answers
        return [
            InvalidInput("no") if i % 3 == 0 else replace(result, reward=2.0)
            for i, result in enumerate(results)
        ]


@ray.remote
class Silent:
    """A client that knows its model and answers nothing else: its service has gone."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def score(self, conversations: Sequence[Conversation], *terms: Any) -> list[Any]:
        if len(conversations) > 1:
            await asyncio.sleep(600)
        results: list[Any] = await self._client.score.remote(list(conversations))
        return results


def test_a_service_that_has_gone_ends_the_run_and_keeps_it(
    client: Any, tmp_path: Path, small_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "SAY_EVERY_S", 0.2)
    config = settings(tmp_path, small_policy, steps=2, checkpoint_every=1, patience_s=1.0)
    done(replace(config, ppo=replace(config.ppo, steps=1, patience_s=600.0)), client)
    remote: Any = Silent
    said: list[str] = []
    with pytest.raises(NotReady, match="left 3 of 3 calls unanswered for 1 s"):
        run_ppo(config, remote.remote(client), print, Rejects(None), said.append)
    assert said[0].startswith("waiting for rewards: 3 calls")
    assert [row.step for row in done(config, client)] == [2]


def test_a_step_most_of_whose_responses_have_no_reward_ends_the_run(
    client: Any, tmp_path: Path, small_policy: Path
) -> None:
    config = settings(tmp_path, small_policy, steps=1, chunk=6, workers=1, max_failed_share=0.3)
    remote: Any = Refusing
    with pytest.raises(InvalidInput, match="no"):
        done(config, remote.remote(client))


def test_a_response_without_a_score_is_no_reward(
    client: Any, tmp_path: Path, small_policy: Path
) -> None:
    config = settings(tmp_path, small_policy, steps=1, chunk=6, workers=1)
    remote: Any = Refusing
    said: list[str] = []
    rows: list[StepRow] = []
    run_ppo(config, remote.remote(client), rows.append, Rejects(None), said.append)
    [row] = rows
    assert (row.responses, row.failed, row.failures) == (12, 4, {"invalid_input": 4})
    assert said == ["a response has no reward: no [invalid_input]"]
    assert (row.reward, row.reward_std) == (2.0, 0.0)


@ray.remote
class Changing:
    """A client whose service has got another model since it was asked which one it is."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def score(self, conversations: Sequence[Conversation], *terms: Any) -> list[Score]:
        results = ray.get(self._client.score.remote(list(conversations)))
        if len(results) == 1:
            return list(results)
        return [replace(result, revision="another") for result in results]


def test_rewards_of_another_model_end_the_run(
    client: Any, tmp_path: Path, small_policy: Path
) -> None:
    remote: Any = Changing
    with pytest.raises(ConfigError, match="another"):
        done(settings(tmp_path, small_policy, steps=1), remote.remote(client))


def test_transforms_and_groups_are_learnt_from_and_the_raw_reward_is_logged(
    client: Any, tmp_path: Path, small_policy: Path
) -> None:
    ppo = {"steps": 1, "advantage_estimator": "grpo", "bf16": True, "micro_train_batch_size": 3}
    plain = settings(tmp_path / "plain", small_policy, **ppo)
    centred = settings(tmp_path / "centred", small_policy, **ppo, transforms=[{"name": "centre"}])
    rows = [done(plain, client)[0], done(centred, client)[0]]
    assert rows[0].reward == rows[1].reward == rows[0].transformed_reward != 0
    assert rows[1].transformed_reward == pytest.approx(0, abs=1e-9)
    with pytest.raises(ConfigError, match=r"Input should be .affine"):
        settings(tmp_path, small_policy, transforms=[{"name": "center"}])


@pytest.mark.slow
def test_a_command_killed_while_it_writes_a_checkpoint_ends_where_an_unbroken_run_ends(
    client: Any, tmp_path: Path, small_policy: Path
) -> None:
    loop = {"steps": 5, "prompts": 4, "workers": 1, "checkpoint_every": 1}
    whole = settings(tmp_path / "whole", small_policy, **loop)
    broken = settings(tmp_path / "broken", small_policy, **loop)
    config = tmp_path / "broken.yaml"
    config.write_text(json.dumps(asdict(broken)))
    killed_in(Learner.save, 3, ["ppo", config])
    done(whole, client)
    with pytest.raises(ConfigError, match="another lr"):
        done(settings(tmp_path / "broken", small_policy, **loop, lr=1e-5), client)
    rows = done(broken, client)
    assert [row.step for row in rows] == [3, 4, 5]
    assert timeless(whole.out) == timeless(broken.out)
    weights = [Path(one.out, "policy/model.safetensors").read_bytes() for one in (whole, broken)]
    assert weights[0] == weights[1]
