"""`annotate`, `evaluate`, `raft` and `dpo` with `--app`, and TRL's GRPO: scored by a service."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.groups import read_lines, write_lines

from cluster.cli import main
from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.client.connect import RewardService
from cluster.serving.replica.backends import fake_reward
from cluster.types import Conversation

pytestmark = pytest.mark.ray
GRPO = Path(__file__).resolve().parents[2] / "ops" / "examples" / "trl_grpo.py"


class ServedRewards:
    """What the fake GPUs answer."""

    def __init__(self, model: str) -> None:
        self._encoder = ChatEncoder.load(EngineConfig(model=model))

    def of(self, conversation: Conversation) -> float:
        return fake_reward(self._encoder.encode(conversation).input_ids, "r1")


@pytest.fixture(scope="module")
def served(byte_tokenizer: str) -> ServedRewards:
    return ServedRewards(byte_tokenizer)


def run(*command: object) -> Result:
    done = CliRunner().invoke(main, list(map(str, command)))
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code == 0, done.output
    return done


def test_annotate_scores_rows_by_the_service_in_order(
    plain_app: str, served: ServedRewards, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"Question {i}?", "responses": [f"answer {j}" for j in range(1 + i % 3)]}
        for i in range(70)
    ]
    source, out = write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    run("annotate", source, out, "--app", plain_app)
    for row, found in zip(rows, read_lines(out), strict=True):
        rewards = [served.of((row["prompt"], text)) for text in row["responses"]]
        assert found == row | {"rewards": rewards}


def test_evaluate_judges_by_the_service_and_names_its_model(
    plain_app: str, served: ServedRewards, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"{i} + 1?", "chosen": f"{i + 1}.", "rejected": "No."} for i in range(6)
    ]
    source, out = write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out"
    run("evaluate", "pairs", source, "--app", plain_app, "--out", out)
    [results] = out.glob("*/results.jsonl")
    lines = read_lines(results)
    for row, line in zip(rows, lines, strict=True):
        assert line["rewards"] == [
            served.of((row["prompt"], row[k])) for k in ("chosen", "rejected")
        ]
    [report] = json.loads((out / "report.json").read_text())["models"]
    assert report["name"] == f"app {plain_app}"
    assert report["score"] == sum(line["credit"] for line in lines) / 6
    made_from = json.loads((results.parent / "made_from.json").read_text())
    assert made_from["identity"]["revision"] == "r1"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["raft", "dpo"])
def test_a_loop_learns_from_the_services_rewards(
    plain_app: str, served: ServedRewards, small_policy: Path, tmp_path: Path, name: str
) -> None:
    if name == "dpo":
        pytest.importorskip("trl")
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"prompt": f"Say {i}."} for i in range(6)])
    config = tmp_path / "loop.yaml"
    loop = {"stages": 1, "prompts": 3, "sampling": {"n": 3, "max_new_tokens": 60}}
    values = {"policy": str(small_policy), "prompts": str(prompts), "evaluation_prompts": 2}
    out = tmp_path / "run"
    config.write_text(json.dumps({"out": str(out), "control": False, **values, name: loop}))
    run(name, config, "--app", plain_app)
    rows = read_lines(out / name / "stage-001" / "samples.jsonl")
    assert [len(row["rewards"]) for row in rows]
    for row in rows:
        assert row["rewards"] == [served.of((row["prompt"], text)) for text in row["responses"]]
    made_from = json.loads((out / name / "made_from.json").read_text())
    assert "r1" in json.dumps(made_from)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_trls_grpo_trainer_logs_the_mean_of_the_services_rewards(
    plain_app: str,
    served: ServedRewards,
    small_policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("trl")
    asked: list[Conversation] = []

    class Watched(RewardService):
        def __init__(self) -> None:
            super().__init__(plain_app)

        def score(self, conversations: Sequence[Conversation], *terms: Any) -> list[Any]:
            asked.extend(conversations)
            return super().score(conversations, *terms)

    example = runpy.run_path(str(GRPO))
    monkeypatch.setitem(example["main"].__globals__, "RewardService", Watched)
    example["main"](str(small_policy))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    rewards = list(map(served.of, asked))
    means = [sum(rewards[i : i + 8]) / 8 for i in range(0, len(rewards), 8)]
    assert told == [f"step {n}: mean reward {mean:+.3f}" for n, mean in enumerate(means, 1)]
    assert len(told) == 2


def test_options_of_an_engine_that_nobody_asks_are_refused(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [])
    command = ["annotate", str(source), str(tmp_path / "out"), "--app", "x", "--dtype", "float16"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "leave out dtype" in done.stderr
