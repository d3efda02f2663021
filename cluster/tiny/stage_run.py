"""Run of a stage of the curriculum: several times from one start, and the mean of the weights kept.

Model soups (arXiv 2203.05482): what the runs learned alike remains, what each learned by heart
cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.model import PackedRewardModel
from cluster.rlhf.synthetic.preferences import GradedGroup
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.loop import new_trainer, train
from cluster.rlhf.training.trainer import OnStep, Trainer
from cluster.tiny.judging import encode_pairs
from cluster.tiny.schedule import schedule


def run_stage(
    model: PackedRewardModel,
    encoder: ChatEncoder,
    runs: Sequence[list[GradedGroup]],
    config: TrainConfig,
    watched: Callable[[Trainer], OnStep],
    say: Callable[[str], None],
) -> Trainer:
    """Train `model` on each run's groups from where it is now, then leave the mean in it.

    Returns the last trainer, which holds `model`.
    """
    start, ends = _weights(model), []
    for groups in runs:
        _set_weights(model, start)
        pairs = encode_pairs(encoder, groups)
        say(f"{len(groups)} groups, {len(pairs)} pairs")
        trainer = new_trainer(model, pairs, config, partial(schedule, config))
        train(trainer, pairs, watched(trainer))
        ends.append(_weights(model))
    # Rounded to what the file holds, so that a stage can begin from the file of the one before.
    _set_weights(
        model, [torch.stack(found).mean(0).bfloat16() for found in zip(*ends, strict=True)]
    )
    return trainer


def _weights(model: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


@torch.no_grad()
def _set_weights(model: nn.Module, values: Sequence[Tensor]) -> None:
    for weight, value in zip(model.parameters(), values, strict=True):
        weight.copy_(value)
