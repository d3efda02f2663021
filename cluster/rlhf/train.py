"""Bradley-Terry training: a plain accelerate loop over the engine's packed forward.

Invariant: a step's gradient is that of the mean loss over all its pairs, however many forwards
and devices it is cut into. Prompts shared by the pairs of a forward are computed once, and equal
sides are scored once. Knows nothing of where the pairs come from. Shape legend: N pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.errors import ConfigError
from cluster.rlhf.bradley_terry import bradley_terry_loss
from cluster.rlhf.train_config import TrainConfig
from cluster.rlhf.train_data import Pair, forwards, n_steps, steps

MIN_SHARED_TOKENS = 16


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step. loss, accuracy, margin (chosen - rejected): means over its pairs."""

    step: int
    n_steps: int
    lr: float
    loss: float
    accuracy: float
    margin: float
    grad_norm: float
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair's rewards."""

    pair: Pair
    chosen: float
    rejected: float

    @property
    def right(self) -> bool:
        """A tie is wrong."""
        return self.chosen > self.rejected


OnStep = Callable[[StepReport], None]
OnEvaluation = Callable[[list[Judged]], None]


def load_for_training(config: TrainConfig) -> PackedRewardModel:
    """The start checkpoint with float32 weights that take gradients."""
    from cluster.config import EngineConfig

    start = EngineConfig(
        model=config.model,
        revision=config.revision,
        device="cpu",
        dtype="float32",
        numerics=config.numerics,
    )
    model = PackedRewardModel.load(start)
    model.module.requires_grad_(True)
    return model


class Trainer:
    """A model, its optimizer and the devices they are on."""

    def __init__(self, model: PackedRewardModel, config: TrainConfig, total_steps: int) -> None:
        self.config = config
        self.total_steps = total_steps
        self.step_number = 0
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision, cpu=config.device == "cpu"
        )
        if config.pairs_per_step % self.accelerator.num_processes:
            raise ConfigError(
                f"pairs_per_step {config.pairs_per_step} must be a multiple of the "
                f"{self.accelerator.num_processes} processes"
            )
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
        """One optimizer step on the mean loss over `pairs`, of which each process takes a part."""
        mine = self._mine(pairs)
        lr = learning_rate(self.config, self.step_number, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()
        self.optimizer.zero_grad()
        runs = list(forwards(mine, self.config.forward_tokens))
        sums = torch.zeros(3, device=self.accelerator.device)
        for index, run in enumerate(runs):
            if index + 1 < len(runs):
                with self.accelerator.no_sync(self.model):
                    sums += self._backward(run, len(mine))
            else:
                sums += self._backward(run, len(mine))
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.step_number += 1
        loss, accuracy, margin = self.accelerator.reduce(sums, "mean").tolist()
        n_tokens = sum(p.chosen.n_tokens + p.rejected.n_tokens for p in mine)
        return StepReport(
            self.step_number, self.total_steps, lr, loss, accuracy, margin, float(norm), n_tokens
        )

    def _mine(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """This process's contiguous part; what does not divide evenly is left out."""
        each = len(pairs) // self.accelerator.num_processes
        start = each * self.accelerator.process_index
        return pairs[start : start + each]

    def _backward(self, pairs: Sequence[Pair], n_pairs: int) -> Tensor:
        """Add the gradients of `pairs`' share of the mean; (loss, accuracy, margin) shares."""
        chosen_N, rejected_N = pair_rewards(self.model, pairs, self.config)
        margin_N = torch.tensor([p.margin for p in pairs], device=chosen_N.device)
        share = len(pairs) / n_pairs
        loss = share * bradley_terry_loss(chosen_N, rejected_N, margin_N, self.config.centring)
        self.accelerator.backward(loss)
        gap_N = (chosen_N - rejected_N).detach()
        right = (gap_N > 0).float().mean() * share
        return torch.stack([loss.detach(), right, gap_N.mean() * share])

    def judge(self, pairs: Iterable[Pair]) -> list[Judged]:
        """Both rewards of every pair, in order; every process judges all."""
        return judge(self.model, pairs, self.config)


def train(
    model: PackedRewardModel,
    pairs: Sequence[Pair],
    config: TrainConfig,
    on_step: OnStep,
    evaluation: Sequence[Pair] = (),
    on_evaluation: OnEvaluation | None = None,
) -> Trainer:
    """Train `model` in place on `pairs`; the Trainer, to judge and save with.

    `on_evaluation` gets both rewards of every pair of `evaluation`, every
    `config.evaluate_every` steps.
    """
    if not pairs:
        raise ConfigError("there is no pair to train on")
    torch.manual_seed(config.seed)
    total = n_steps(len(pairs), config.pairs_per_step, config.epochs)
    trainer = Trainer(model, config, total)
    for chunk in steps(pairs, config.pairs_per_step, config.epochs, config.seed):
        if trainer.step_number == config.max_steps:
            break
        on_step(trainer.step(chunk))
        due = config.evaluate_every and trainer.step_number % config.evaluate_every == 0
        if due and on_evaluation is not None:
            on_evaluation(trainer.judge(evaluation))
    return trainer


def pair_rewards(
    model: nn.Module, pairs: Sequence[Pair], config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """chosen_N, rejected_N of a PackedRewardModel (or its wrapper) in one forward."""
    sides = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    rewards: Tensor = model(pack(sides, config.numerics, MIN_SHARED_TOKENS))
    return rewards[: len(pairs)], rewards[len(pairs) :]


@torch.no_grad()
def judge(model: nn.Module, pairs: Iterable[Pair], config: TrainConfig) -> list[Judged]:
    """Both rewards of every pair, in order."""
    model.eval()
    judged: list[Judged] = []
    for run in forwards(pairs, config.forward_tokens):
        chosen_N, rejected_N = pair_rewards(model, run, config)
        sides = zip(run, chosen_N.tolist(), rejected_N.tolist(), strict=True)
        judged += [Judged(*values) for values in sides]
    return judged


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """Linear warm-up, then half a cosine from `lr` to `final_lr` of it; `step` counts from 0."""
    rise = max(1, math.ceil(config.warmup * total))
    if step < rise:
        return config.lr * (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def accuracy_by_kind(judged: Iterable[Judged]) -> dict[str, float]:
    """Share of right pairs a kind, kinds in order of appearance."""
    return _shares((result.pair.kind, result.right) for result in judged)


def best_on_top(judged: Sequence[Judged]) -> dict[str, float]:
    """Share of prompts a kind whose best response beats all others: best-of-n finds it."""
    rejected = {result.pair.rejected.input_ids.tobytes() for result in judged}
    wins: dict[tuple[str, bytes], bool] = {}
    for result in judged:
        best = result.pair.chosen.input_ids.tobytes()
        if best not in rejected:
            key = result.pair.kind, best
            wins[key] = wins.get(key, True) and result.right
    return _shares((kind, won) for (kind, _), won in wins.items())


def _shares(outcomes: Iterable[tuple[str, bool]]) -> dict[str, float]:
    found: dict[str, list[bool]] = {}
    for kind, outcome in outcomes:
        found.setdefault(kind, []).append(outcome)
    return {kind: sum(values) / len(values) for kind, values in found.items()}
