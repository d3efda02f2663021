"""Training loop: all remaining steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from cluster.engine.model import PackedRewardModel
from cluster.errors import ConfigError
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.pairs import Pair, n_steps, steps
from cluster.rlhf.training.trainer import OnStep, Schedule, Trainer


def new_trainer(
    model: PackedRewardModel,
    pairs: Sequence[Pair],
    config: TrainConfig,
    schedule: Callable[[int], Schedule] | None = None,
) -> Trainer:
    """A trainer of `model` at step 0 of training on `pairs`.

    schedule: makes one for a number of steps, instead of `cosine_with_warmup`.
    """
    if not pairs:
        raise ConfigError("there is no pair to train on")
    torch.manual_seed(config.seed)
    total = n_steps(len(pairs), config.pairs_per_step, config.epochs)
    return Trainer(model, config, total, schedule(total) if schedule else None)


def train(trainer: Trainer, pairs: Sequence[Pair], on_step: OnStep) -> None:
    """Run every remaining step, calling `on_step` after each."""
    config = trainer.config
    order = steps(pairs, config.pairs_per_step, config.epochs, config.seed)
    for number, chunk in enumerate(order):
        if config.max_steps is not None and trainer.step_number >= config.max_steps:
            break
        if number == trainer.step_number:
            on_step(trainer.step(chunk))
