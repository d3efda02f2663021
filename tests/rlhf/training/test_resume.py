"""A run that is killed and given again ends with the model of one that never was."""

import json
from pathlib import Path

import pytest
import yaml
from accelerate import Accelerator
from click.testing import CliRunner
from support.dying import killed_in
from support.preferences import write_pairs

from cluster.cli import main
from cluster.errors import ConfigError
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.run import train_reward_model
from cluster.settings.parsing import parse_config

STEPS = 24


@pytest.fixture
def settings(tmp_path: Path, smallest_checkpoint: Path) -> dict[str, object]:
    return {
        "model": str(smallest_checkpoint),
        "train": write_pairs(tmp_path / "train.jsonl", "train", 2),
        "evaluation": write_pairs(tmp_path / "evaluation.jsonl", "held_out", 1),
        "device": "cpu",
        "mixed_precision": "no",
        "pairs_per_step": 8,
        "epochs": 4,
        "max_steps": STEPS,
        "lr": 1e-3,
        "evaluate_every": 4,
        "checkpoint_every": 3,
        "lora": {"rank": 4, "dropout": 0.1},
    }


def command(tmp_path: Path, settings: dict[str, object], out: str) -> list[str]:
    config = tmp_path / f"{out}.yaml"
    config.write_text(yaml.safe_dump(settings | {"out": str(tmp_path / out)}))
    return ["train", str(config)]


@pytest.mark.slow
def test_a_run_killed_while_it_writes_a_checkpoint_ends_with_the_bytes_of_an_unbroken_one(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    whole = CliRunner().invoke(main, command(tmp_path, settings, "whole"))
    assert whole.exit_code == 0, whole.output
    broken = command(tmp_path, settings, "broken")
    killed_in(Accelerator.save_state, 3, broken)
    checkpoints = tmp_path / "broken/checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == [
        ".step-000009.tmp",
        "step-000003",
        "step-000006",
    ]
    resumed = CliRunner().invoke(main, broken)
    assert resumed.exit_code == 0, resumed.output
    assert "resumes after step 6" in resumed.output
    for name in ("model.safetensors", "log.jsonl", "config.json"):
        one, other = (tmp_path / out / name for out in ("whole", "broken"))
        assert one.read_bytes() == other.read_bytes(), name
    kept = sorted(path.name for path in checkpoints.iterdir())
    assert kept == [f"step-{STEPS - 3:06}", f"step-{STEPS:06}"]


def test_a_folder_of_another_run_is_not_gone_on_with(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    here = settings | {"out": str(tmp_path / "run"), "max_steps": 3}
    train_reward_model(parse_config(TrainConfig, here), lambda _: None, lambda _: None)
    with pytest.raises(ConfigError, match="another lr"):
        train_reward_model(
            parse_config(TrainConfig, here | {"lr": 1e-4}), lambda _: None, lambda _: None
        )


def test_a_checkpoint_is_a_model_that_the_engine_loads(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    from cluster.config import EngineConfig
    from cluster.engine.engine import Engine
    from cluster.types import Message

    here = settings | {"out": str(tmp_path / "run"), "max_steps": 3}
    train_reward_model(parse_config(TrainConfig, here), lambda _: None, lambda _: None)
    chat = [Message(role="user", content="What is 2 + 2?")]
    rewards = []
    for model in (tmp_path / "run", tmp_path / "run/checkpoints/step-000003/model"):
        engine = Engine.load(EngineConfig(model=str(model), device="cpu"))
        rewards += engine.score([engine.encoder.encode(chat)])
    assert rewards[0].reward == rewards[1].reward  # type: ignore[union-attr]
    assert json.loads((tmp_path / "run/config.json").read_text())["dtype"] == "bfloat16"
