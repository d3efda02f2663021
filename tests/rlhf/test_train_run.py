"""From files of pairs to a folder that transformers and the engine load."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.config import EngineConfig
from cluster.engine.engine import Engine
from cluster.errors import ConfigError
from cluster.rlhf.tiny.preferences import groups, of_each
from cluster.rlhf.train_config import TrainConfig
from cluster.rlhf.train_run import run
from cluster.types import Message, Score


def rows(split: Any, number: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": list(group.prompt),
            "chosen": group.responses[better],
            "rejected": group.responses[worse],
        }
        for group in groups(split, of_each(number), 0)
        for better, worse in group.pairs()
    ]


def write(path: Path, values: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return str(path)


@pytest.fixture
def config(tmp_path: Path, smallest_checkpoint: Path) -> TrainConfig:
    return TrainConfig(
        model=str(smallest_checkpoint),
        train=write(tmp_path / "train.jsonl", rows("train", 2)),
        evaluation=write(tmp_path / "evaluation.jsonl", rows("held_out", 1)),
        out=str(tmp_path / "trained"),
        device="cpu",
        mixed_precision="no",
        pairs_per_step=16,
        max_steps=3,
        lr=1e-3,
    )


def test_the_written_model_gives_the_rewards_that_were_judged(config: TrainConfig) -> None:
    from transformers import AutoTokenizer

    config = replace(config, dtype="float32")
    said: list[str] = []
    judged = run(config, lambda _: None, said.append)
    written = EngineConfig(model=config.out, device="cpu", dtype="float32", numerics="fast")
    engine = Engine.load(written)
    scores = engine.score([j.pair.chosen for j in judged])
    again = [score.reward for score in scores if isinstance(score, Score)]
    assert again == pytest.approx([j.chosen for j in judged], abs=1e-4)
    assert AutoTokenizer.from_pretrained(config.out).truncation_side == "left"
    assert any(line.startswith("evaluation:") for line in said)


def test_training_changes_the_rewards(config: TrainConfig) -> None:
    run(config, lambda _: None, lambda _: None)
    found = []
    for model in (config.model, config.out):
        engine = Engine.load(EngineConfig(model=model, device="cpu", numerics="fast"))
        chat = [Message(role="user", content="What is 2 + 2?")]
        score = engine.score([engine.encoder.encode(chat)])[0]
        assert isinstance(score, Score)
        found.append(score.reward)
    assert found[0] != found[1]


def test_an_evaluation_on_training_pairs_is_refused(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="tells nothing"):
        run(replace(config, evaluation=config.train), lambda _: None, lambda _: None)


def test_bad_rows_are_told_and_end_nothing(config: TrainConfig) -> None:
    path = Path(config.train)
    path.write_text("{broken\n" + path.read_text())
    said: list[str] = []
    run(config, lambda _: None, said.append)
    assert any("line 1" in line for line in said)
    assert (Path(config.out) / "model.safetensors").is_file()


@pytest.mark.parametrize("content", [None, "", '{"prompt": "a"}\n'])
def test_a_training_file_without_a_pair_is_refused(
    config: TrainConfig, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "none.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="pair"):
        run(replace(config, train=str(path)), lambda _: None, lambda _: None)
    assert not Path(config.out).exists()
