"""TRL's RewardTrainer on the same pairs: the same loss, and it loads what is written here."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.preferences import write_pairs

from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.model_setup import StartingModel, load_starting_model
from cluster.rlhf.training.pairs import Pair, read_pairs
from cluster.rlhf.training.run import train_reward_model
from cluster.rlhf.training.trainer import Trainer


@pytest.fixture
def config(smallest_checkpoint: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        model=str(smallest_checkpoint),
        train=write_pairs(tmp_path / "train.jsonl", "train", 1),
        out=str(tmp_path / "out"),
        device="cpu",
        mixed_precision="no",
        dtype="float32",
    )


def trl_loss(start: StartingModel, pairs: list[Pair], centering: float, folder: Path) -> float:
    """Of one batch, by the trainer's own collator and `compute_loss`."""
    trl = importlib.import_module("trl")
    datasets = importlib.import_module("datasets")
    rows = {
        "chosen_ids": [p.chosen.input_ids.tolist() for p in pairs],
        "rejected_ids": [p.rejected.input_ids.tolist() for p in pairs],
        "margin": [p.margin for p in pairs],
    }
    settings = trl.RewardConfig(
        output_dir=str(folder),
        center_rewards_coefficient=centering or None,
        max_length=None,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
    )
    module = start.model.module
    module.set_attn_implementation("sdpa")
    trainer = trl.RewardTrainer(
        module,
        settings,
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=start.tokenizer,
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(pairs))])
    with torch.no_grad():
        loss: float = trainer.compute_loss(module.eval(), batch).item()
    return loss


@pytest.mark.parametrize(("margin", "centering"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.01), (0.3, 0.1)])
def test_the_loss_is_trls(
    config: TrainConfig, tmp_path: Path, margin: float, centering: float
) -> None:
    config = replace(config, center_rewards_coefficient=centering, margin=True)
    start = load_starting_model(config)
    found = read_pairs(Path(config.train), start.encoder)
    pairs = [replace(row, margin=margin) for row in found if isinstance(row, Pair)][:9]
    ours = Trainer(start.model, config, 1).step(pairs).loss
    theirs = trl_loss(load_starting_model(config), pairs, centering, tmp_path / "trl")
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_margins_of_rows_do_nothing_unless_asked_for(config: TrainConfig) -> None:
    start = load_starting_model(config)
    found = read_pairs(Path(config.train), start.encoder)
    pairs = [row for row in found if isinstance(row, Pair)][:9]
    wide = [replace(pair, margin=3.0) for pair in pairs]
    plain, ignored = (
        Trainer(load_starting_model(config).model, config, 1).step(p) for p in (pairs, wide)
    )
    heeded = Trainer(load_starting_model(config).model, replace(config, margin=True), 1).step(wide)
    assert plain.loss == ignored.loss < heeded.loss


def test_trl_goes_on_training_what_is_written_here(config: TrainConfig, tmp_path: Path) -> None:
    trl = importlib.import_module("trl")
    datasets = importlib.import_module("datasets")
    train_reward_model(replace(config, max_steps=1), lambda _: None, lambda _: None)
    rows: dict[str, Any] = {
        side: [
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}]
            for text in texts
        ]
        for side, texts in (("chosen", ("Hello!", "Hi!")), ("rejected", ("No.", "What?")))
    }
    settings = trl.RewardConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=1,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
        save_strategy="no",
    )
    trainer = trl.RewardTrainer(
        config.out, settings, train_dataset=datasets.Dataset.from_dict(rows)
    )
    assert trainer.processing_class.pad_token == "[PAD]"
    assert trainer.train().global_step == 1
