"""From files of pairs to a folder that transformers and the engine load."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.preferences import write_pairs

from cluster.config import EngineConfig
from cluster.data.rejects import Rejects
from cluster.engine.engine import Engine
from cluster.errors import ConfigError, InvalidInput
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.dataset import open_data, write_data
from cluster.rlhf.training.model_setup import load_starting_model
from cluster.rlhf.training.run import train_reward_model
from cluster.rlhf.training.trainer import StepReport
from cluster.types import Message, Score


@pytest.fixture
def config(tmp_path: Path, smallest_checkpoint: Path) -> TrainConfig:
    return TrainConfig(
        model=str(smallest_checkpoint),
        train=write_pairs(tmp_path / "train.jsonl", "train", 2),
        evaluation=write_pairs(tmp_path / "evaluation.jsonl", "held_out", 1),
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
    judged = train_reward_model(config, lambda _: None, said.append)
    written = EngineConfig(model=config.out, device="cpu", dtype="float32", numerics="fast")
    engine = Engine.load(written)
    scores = engine.score([j.pair.chosen for j in judged])
    again = [score.reward for score in scores if isinstance(score, Score)]
    assert again == pytest.approx([j.chosen for j in judged], abs=1e-4)
    assert AutoTokenizer.from_pretrained(config.out).truncation_side == "left"
    assert any("evaluation:" in line for line in said)


def test_training_changes_the_rewards(config: TrainConfig) -> None:
    train_reward_model(config, lambda _: None, lambda _: None)
    found = []
    for model in (config.model, config.out):
        engine = Engine.load(EngineConfig(model=model, device="cpu", numerics="fast"))
        chat = [Message(role="user", content="What is 2 + 2?")]
        score = engine.score([engine.encoder.encode(chat)])[0]
        assert isinstance(score, Score)
        found.append(score.reward)
    assert found[0] != found[1]


def test_an_evaluation_on_training_pairs_is_refused(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="means nothing"):
        train_reward_model(replace(config, evaluation=config.train), lambda _: None, lambda _: None)


def test_bad_rows_are_told_and_end_nothing(config: TrainConfig) -> None:
    path = Path(config.train)
    path.write_text("{broken\n" + path.read_text())
    said: list[str] = []
    train_reward_model(config, lambda _: None, said.append)
    assert any("line 1" in line for line in said)
    [rejected] = (Path(config.out) / "rejects.jsonl").read_text().splitlines()
    assert json.loads(rejected)["error"]["line"] == 1
    assert (Path(config.out) / "model.safetensors").is_file()


def test_strict_ends_at_the_first_broken_row_with_no_model(config: TrainConfig) -> None:
    path = Path(config.train)
    path.write_text(path.read_text() + "{broken\n")
    with pytest.raises(InvalidInput, match=r"train\.jsonl"):
        train_reward_model(config, lambda _: None, lambda _: None, strict=True)
    assert not list(Path(config.out).glob("*.safetensors"))


def test_a_share_of_the_prompts_is_set_apart_whole(config: TrainConfig, tmp_path: Path) -> None:
    encoder = load_starting_model(config).encoder
    config = replace(config, evaluation=None)
    with Rejects(None) as rejects:
        write_data(config, encoder, rejects, tmp_path / "pairs")
    data = open_data(replace(config, evaluation_share=0.2), tmp_path / "pairs")
    everything = open_data(config, tmp_path / "pairs")
    trained, apart = ({p.prompt_key for p in part} for part in (data.training, data.evaluation))
    assert not trained & apart
    assert len(apart) == round(0.2 * (len(trained) + len(apart)))
    assert len(data.training) + len(data.evaluation) == len(everything.training)


def test_pairs_that_are_cut_are_counted_and_no_tokenized_pair_is_left_behind(
    config: TrainConfig,
) -> None:
    said: list[str] = []
    train_reward_model(replace(config, max_tokens=24, max_steps=1), lambda _: None, said.append)
    assert any("are cut to 24 tokens" in line for line in said)
    assert not (Path(config.out) / ".pairs").exists()


def test_processes_that_would_train_alone_are_refused(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("cluster.rlhf.training.trainer.Accelerator", Alone)
    with pytest.raises(ConfigError, match="each would train alone"):
        train_reward_model(config, lambda _: None, lambda _: None)


class Alone:
    """An accelerator that knows of no other process."""

    num_processes = 1

    def __init__(self, **_: object) -> None: ...


def test_the_log_has_every_step_and_evaluation_and_is_drawn(config: TrainConfig) -> None:
    reports: list[StepReport] = []
    train_reward_model(
        replace(config, max_steps=5, evaluate_every=2), reports.append, lambda _: None
    )
    log = [json.loads(line) for line in (Path(config.out) / "log.jsonl").read_text().splitlines()]
    steps = [row for row in log if "evaluation" not in row]
    assert steps == [asdict(report) for report in reports]
    assert [row["step"] for row in log if "evaluation" in row] == [2, 4, 5]
    assert (Path(config.out) / "training.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", [None, "", '{"prompt": "a"}\n'])
def test_a_training_file_without_a_pair_is_refused(
    config: TrainConfig, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "none.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="pair"):
        train_reward_model(replace(config, train=str(path)), lambda _: None, lambda _: None)
    assert not list(Path(config.out).glob("*.safetensors"))
