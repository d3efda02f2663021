"""A training run from files: read pairs, train, judge pairs never trained on, write the model.

Invariant: the output folder gets its files one by one, whole, and the weights last of all; rows
that give no pair are told by line and end nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cluster.config import EngineConfig
from cluster.engine.chat import ChatEncoder
from cluster.engine.checkpoint import locate
from cluster.errors import ConfigError
from cluster.rlhf.train import Judged, OnStep, Trainer, load_for_training, train
from cluster.rlhf.train_config import TrainConfig
from cluster.rlhf.train_data import Pair, read_pairs

Say = Callable[[str], None]


def run(config: TrainConfig, on_step: OnStep, say: Say) -> list[Judged]:
    """Train as `config` says; both rewards of every evaluation pair.

    Raises ConfigError where a file of pairs is missing, is the training file again, or has no pair.
    """
    encoder = ChatEncoder.load(
        EngineConfig(
            model=config.model,
            revision=config.revision,
            max_tokens=config.max_tokens,
            truncate=config.truncate,
        )
    )
    pairs = _pairs(config.train, encoder, say)
    evaluation = _evaluation(config, encoder, {_key(pair) for pair in pairs}, say)
    trainer = train(load_for_training(config), pairs, config, on_step)
    judged = trainer.judge(evaluation)
    if judged:
        right = sum(result.right for result in judged)
        say(f"evaluation: {right} of {len(judged)} pairs right")
    if trainer.accelerator.is_main_process:
        save(trainer, _tokenizer(config), Path(config.out), getattr(torch, config.dtype))
        say(f"wrote {config.out}")
    return judged


def save(trainer: Trainer, tokenizer: Any, folder: Path, dtype: torch.dtype) -> None:
    """The model as transformers loads it, each file replaced whole; its weights become `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        module = trainer.unwrapped.module
        module.set_attn_implementation("sdpa")
        module.to(dtype).save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        for path in sorted(Path(scratch).iterdir(), key=lambda p: p.suffix == ".safetensors"):
            path.chmod(0o644)
            os.replace(path, folder / path.name)


def _tokenizer(config: TrainConfig) -> Any:
    """Saved with its truncation side, which transformers would else load as `right`."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        locate(config.model), revision=config.revision or "main", truncation_side="left"
    )


def _pairs(path: str, encoder: ChatEncoder, say: Say) -> list[Pair]:
    if not path or not Path(path).is_file():
        raise ConfigError(f"there is no file of pairs {path!r}; name one of `chosen` + `rejected`")
    pairs, bad = read_pairs(Path(path), encoder)
    for row in bad:
        say(f"{path}: line {row.number}: {row.reason}")
    if not pairs:
        raise ConfigError(f"{path} has no usable pair ({len(bad)} bad rows)")
    say(f"{path}: {len(pairs)} pairs, {len(bad)} rows left out")
    return pairs


def _evaluation(
    config: TrainConfig, encoder: ChatEncoder, trained_on: set[bytes], say: Say
) -> list[Pair]:
    if config.evaluation is None:
        return []
    pairs = _pairs(config.evaluation, encoder, say)
    known = sum(_key(pair) in trained_on for pair in pairs)
    if known:
        raise ConfigError(
            f"{known} pairs of {config.evaluation} are in {config.train} too; "
            "an evaluation on training data tells nothing"
        )
    return pairs


def _key(pair: Pair) -> bytes:
    return pair.chosen.input_ids.tobytes() + b"|" + pair.rejected.input_ids.tobytes()
