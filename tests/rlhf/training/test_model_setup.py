"""What training starts from: heads, pads, adapters, dropout, memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.architectures import plain_rewards, save_random
from support.checkpoints import changed
from support.policies import random_causal_lm
from support.preferences import write_pairs

from cluster.config import EngineConfig
from cluster.engine.engine import Engine
from cluster.errors import ConfigError, ModelRefused
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.training.config import LoraSettings, TrainConfig
from cluster.rlhf.training.model_setup import StartingModel, load_starting_model
from cluster.rlhf.training.pairs import Pair, read_pairs
from cluster.rlhf.training.run import save_trained
from cluster.rlhf.training.trainer import Trainer


@pytest.fixture
def config(smallest_checkpoint: Path) -> TrainConfig:
    return TrainConfig(
        model=str(smallest_checkpoint),
        device="cpu",
        mixed_precision="no",
        lr=1e-2,
        warmup_ratio=0.0,
        gradient_checkpointing=False,
    )


@pytest.fixture
def chat_model(tmp_path: Path) -> str:
    """A causal model whose pad is its end of turn, as many chat models ship."""
    model, tokenizer = random_causal_lm(pad_token="<|eot_id|>")
    model.save_pretrained(tmp_path / "chat")
    tokenizer.save_pretrained(tmp_path / "chat")
    return str(tmp_path / "chat")


def some_pairs(start: StartingModel, tmp_path: Path) -> list[Pair]:
    path = write_pairs(tmp_path / "pairs.jsonl", "train", 1)
    found = [row for row in read_pairs(Path(path), start.encoder) if isinstance(row, Pair)]
    return found[:12]


def test_a_chat_model_gets_a_head_and_a_pad_of_its_own(
    config: TrainConfig, chat_model: str, tmp_path: Path
) -> None:
    start = load_starting_model(replace(config, model=chat_model))
    assert start.tokenizer.pad_token == "[PAD]"
    assert start.tokenizer.pad_token_id != start.encoder.end_of_turn_id
    pairs = some_pairs(start, tmp_path)
    trainer = Trainer(start.model, config, 1)
    trainer.step(pairs)
    judged = trainer.judge(pairs)
    save_trained(trainer, start.tokenizer, tmp_path / "out", torch.float32)
    engine = Engine.load(EngineConfig(model=str(tmp_path / "out"), device="cpu", dtype="float32"))
    scores = engine.score([pair.chosen for pair in pairs])
    assert [score.reward for score in scores] == pytest.approx(  # type: ignore[union-attr]
        [one.chosen for one in judged], abs=1e-4
    )


def test_a_new_head_is_that_of_the_seed(config: TrainConfig, chat_model: str) -> None:
    def head(seed: int) -> torch.Tensor:
        start = load_starting_model(replace(config, model=chat_model, seed=seed))
        return start.model.module.score.weight.detach()  # type: ignore[no-any-return]

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


def test_adapters_train_alone_with_the_head_and_are_merged_when_saved(
    config: TrainConfig, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    start = load_starting_model(replace(config, lora=LoraSettings(rank=2)))
    trained = {name for name, p in start.model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name or name == "module.score.weight" for name in trained)
    pairs = some_pairs(start, tmp_path)
    trainer = Trainer(start.model, replace(config, lora=LoraSettings(rank=2)), 10)
    for _ in range(3):
        trainer.step(pairs)
    judged = trainer.judge(pairs)
    save_trained(trainer, start.tokenizer, tmp_path / "out", torch.float32)
    auto: Any = AutoModelForSequenceClassification
    loaded = auto.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert not [name for name, _ in loaded.named_parameters() if "lora" in name or "base" in name]
    for pair, one in zip(pairs, judged, strict=True):
        logits = loaded(input_ids=torch.from_numpy(pair.chosen.input_ids)[None].long()).logits
        assert logits.item() == pytest.approx(one.chosen, abs=1e-4)


def test_a_bfloat16_base_is_half_the_memory_and_its_adapters_learn_in_float32(
    config: TrainConfig, tmp_path: Path
) -> None:
    lora = LoraSettings(rank=2, base_dtype="bfloat16")
    start = load_starting_model(replace(config, lora=lora))
    dtypes = {p.requires_grad: set() for p in start.model.parameters()}  # type: ignore[var-annotated]
    for weight in start.model.parameters():
        dtypes[weight.requires_grad].add(weight.dtype)
    assert dtypes == {True: {torch.float32}, False: {torch.bfloat16}}
    pairs = some_pairs(start, tmp_path)
    trainer = Trainer(start.model, replace(config, lora=lora), 10)
    losses = [trainer.step(pairs).loss for _ in range(5)]
    assert losses[-1] < losses[0]
    save_trained(trainer, start.tokenizer, tmp_path / "out", torch.float32)
    judged = trainer.judge(pairs)
    saved = EngineConfig(model=str(tmp_path / "out"), device="cpu", dtype="float32")
    scores = Engine.load(saved).score([pair.chosen for pair in pairs])
    assert [score.reward for score in scores] == pytest.approx(  # type: ignore[union-attr]
        [one.chosen for one in judged], abs=0.05
    )


def test_layers_that_the_model_has_not_are_one_clear_error(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match=r"lora\.layers"):
        load_starting_model(replace(config, lora=LoraSettings(layers=("nowhere",))))


def test_checkpointed_activations_give_the_same_gradients(
    config: TrainConfig, tmp_path: Path
) -> None:
    found = []
    for checkpointing in (False, True):
        start = load_starting_model(replace(config, gradient_checkpointing=checkpointing))
        Trainer(start.model, replace(config, lr=0.0), 1).step(some_pairs(start, tmp_path))
        found.append({n: p.grad for n, p in start.model.named_parameters()})
    for name, gradient in found[0].items():
        assert gradient is not None
        torch.testing.assert_close(found[1][name], gradient)


def test_what_is_no_model_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="nowhere"):
        load_starting_model(replace(config, model=str(tmp_path / "nowhere")))


def test_a_start_whose_body_lacks_a_tensor_is_refused_by_name(
    config: TrainConfig, chat_model: str, smallest_checkpoint: Path, tmp_path: Path
) -> None:
    body = "model.layers.0.mlp.up_proj.weight"
    starts = {"reward": smallest_checkpoint, "policy": Path(chat_model)}
    models = {
        name: changed(tmp_path / name, source, lambda weights: weights.pop(body))
        for name, source in starts.items()
    }
    for model in models.values():
        with pytest.raises(ModelRefused, match=body):
            load_starting_model(replace(config, model=model))
    with pytest.raises(ModelRefused, match=body):
        Policy.load(models["policy"])


def test_an_architecture_that_cannot_be_packed_is_trained_by_its_own_forward(
    config: TrainConfig, tmp_path: Path
) -> None:
    """Falcon's attention goes past the packed one: packed, chats of a batch would be one."""
    folder = save_random(tmp_path / "falcon", "FalconConfig", {"max_position_embeddings": 512})
    start = load_starting_model(replace(config, model=str(folder)))
    assert start.model.numerics == "reference"
    assert "Falcon" in start.model.not_packed or "layers" in start.model.not_packed
    pairs = some_pairs(start, tmp_path)
    trainer = Trainer(start.model, config, 1)
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    judged = trainer.judge(pairs)
    found = [reward for pair in judged for reward in (pair.chosen, pair.rejected)]
    assert found == pytest.approx(plain_rewards(folder, sides), abs=1e-5)
    before = start.model.module.score.weight.clone()
    trainer.step(pairs)
    assert not torch.equal(before, start.model.module.score.weight)
