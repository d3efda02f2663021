"""Bradley-Terry trainer: one optimizer step, on as many devices as accelerate gives.

Invariant: a step's gradient is that of the mean loss over all its pairs, however many forwards
and devices it is cut into. Prompts shared by the pairs of a forward are computed once, and equal
sides are scored once. Every device runs as many forwards as every other, because FSDP's
collectives demand it. Knows nothing of where the pairs come from. Shape legend: N pairs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.errors import ConfigError
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.loss import bradley_terry_loss
from cluster.rlhf.training.metrics import ScoredPairs
from cluster.rlhf.training.pairs import Pair, forwards

MIN_SHARED_TOKENS = 16


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step. loss, accuracy, margin (chosen - rejected): means over its pairs.

    n_tokens: of both sides of all pairs, shared prompts counted each time.
    """

    step: int
    n_steps: int
    lr: float
    loss: float
    accuracy: float
    margin: float
    grad_norm: float
    n_tokens: int


OnStep = Callable[[StepReport], None]
Schedule = Callable[[int], float]
"""The learning rate of step n, counted from 0, as a share of the peak."""


def make_accelerator(config: TrainConfig) -> Accelerator:
    """This process's accelerator; those of one run share one state, which a later run may need to
    differ.

    Raises ConfigError where several processes were launched that accelerate does not join.
    """
    known = AcceleratorState._shared_state
    if known and AcceleratorState().mixed_precision != config.mixed_precision:
        AcceleratorState._reset_state()
    made = Accelerator(mixed_precision=config.mixed_precision, cpu=config.device == "cpu")
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > made.num_processes:
        raise ConfigError(
            f"{launched} processes were launched, but each would train alone: there is no GPU for "
            "them; give `device: cpu` to train on the CPU together"
        )
    return made


class Trainer:
    """A model, its optimizer and the devices they are on.

    schedule: instead of `cosine_with_warmup`.
    """

    def __init__(
        self,
        model: PackedRewardModel,
        config: TrainConfig,
        total_steps: int,
        schedule: Schedule | None = None,
    ) -> None:
        self.config = config
        self.total_steps = total_steps
        self.step_number = 0
        self._schedule = schedule or cosine_with_warmup(config, total_steps)
        self.accelerator = make_accelerator(config)
        optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        self.model: Any
        self.optimizer: Any
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)

    @property
    def unwrapped(self) -> PackedRewardModel:
        """The model without accelerate's wrappers."""
        model: PackedRewardModel = self.accelerator.unwrap_model(self.model)
        return model

    def step(self, pairs: Sequence[Pair]) -> StepReport:
        """One optimizer step on the mean loss over `pairs`; each process takes a part of them."""
        lr = self.config.lr * self._schedule(self.step_number)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()
        self.optimizer.zero_grad()
        sums = torch.zeros(3, device=self.accelerator.device)
        for run, weight, syncs in self._forwards(pairs):
            with syncs:
                sums += self._backward(run, weight / len(pairs))
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.step_number += 1
        loss, accuracy, margin = self.accelerator.reduce(sums, "sum").tolist()
        n_tokens = sum(p.chosen.n_tokens + p.rejected.n_tokens for p in pairs)
        return StepReport(
            self.step_number, self.total_steps, lr, loss, accuracy, margin, float(norm), n_tokens
        )

    def judge(self, pairs: Sequence[Pair]) -> list[ScoredPairs]:
        """Both rewards of every pair, in order, on every process; each computes a part."""
        from accelerate.utils import gather_object

        if not pairs:
            return []
        self.model.eval()
        found: list[tuple[float, float]] = []
        with torch.no_grad():
            for run, weight, _ in self._forwards(pairs):
                chosen_N, rejected_N = pair_rewards(self.model, run, self.config)
                if weight:
                    found += zip(chosen_N.tolist(), rejected_N.tolist(), strict=True)
        both = gather_object(found) if self.accelerator.num_processes > 1 else found
        return [ScoredPairs(pair, *rewards) for pair, rewards in zip(pairs, both, strict=True)]

    def _mine(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """This process's contiguous part, perhaps none; the parts are `pairs` in order."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return pairs[rank * len(pairs) // world : (rank + 1) * len(pairs) // world]

    def _forwards(
        self, pairs: Sequence[Pair]
    ) -> Iterator[tuple[Sequence[Pair], int, AbstractContextManager[Any]]]:
        """(pairs, how many of them count, whether gradients are synced) of this process's forwards.

        A process with fewer than the others repeats a pair that does not count.
        """
        mine = forwards(self._mine(pairs), self.config.forward_tokens)
        runs: list[tuple[Sequence[Pair], int]] = [(run, len(run)) for run in mine]
        n_here = torch.tensor([len(runs)], device=self.accelerator.device)
        n_most = int(self.accelerator.gather(n_here).max())
        runs += [(pairs[:1], 0)] * (n_most - len(runs))
        for index, (run, weight) in enumerate(runs, 1):
            last = index == n_most
            yield run, weight, nullcontext() if last else self.accelerator.no_sync(self.model)

    def _backward(self, pairs: Sequence[Pair], share: float) -> Tensor:
        """Add the gradients of `share` of the mean; (loss, accuracy, margin) shares.

        accelerate's wrappers average gradients over processes where the sum is wanted.
        """
        chosen_N, rejected_N = pair_rewards(self.model, pairs, self.config)
        margins = [pair.margin if self.config.margin else 0.0 for pair in pairs]
        margin_N = torch.tensor(margins, device=chosen_N.device)
        centering = self.config.center_rewards_coefficient
        loss = share * bradley_terry_loss(chosen_N, rejected_N, margin_N, centering)
        self.accelerator.backward(loss * self.accelerator.num_processes)
        gap_N = (chosen_N - rejected_N).detach()
        right = (gap_N > 0).float().mean() * share
        return torch.stack([loss.detach(), right, gap_N.mean() * share])


def pair_rewards(
    model: nn.Module, pairs: Sequence[Pair], config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """chosen_N, rejected_N of a PackedRewardModel (or its wrapper) in one forward."""
    sides = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    rewards: Tensor = model(pack(sides, config.numerics, MIN_SHARED_TOKENS))
    return rewards[: len(pairs)], rewards[len(pairs) :]


def cosine_with_warmup(config: TrainConfig, total: int) -> Schedule:
    """transformers' `cosine_with_min_lr`: linear from 0, then half a cosine down to `min_lr_ratio`.

    The warm-up has ceil(`warmup_ratio` * total) steps, as transformers' Trainer counts them.
    """
    from transformers import get_scheduler

    made: Any = get_scheduler(
        "cosine_with_min_lr",
        torch.optim.SGD([torch.zeros(1)], lr=config.lr),
        num_warmup_steps=math.ceil(config.warmup_ratio * total),
        num_training_steps=total,
        scheduler_specific_kwargs={"min_lr_rate": config.min_lr_ratio},
    )
    factor: Schedule = made.lr_lambdas[0]
    return factor
