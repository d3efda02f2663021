"""The update of a policy and its critic from a step's rollouts and rewards.

Invariant: what an update makes depends on the state before it, the rollouts, the rewards and the
seed alone. The reference is the policy that the run started from. Source: see `objectives`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.rlhf.policy import Policy
from cluster.rlhf.ppo import objectives
from cluster.rlhf.ppo.batch import RolloutBatch, batch_of, response_log_probs
from cluster.rlhf.ppo.config import PpoConfig
from cluster.rlhf.ppo.critic import Critic
from cluster.rlhf.ppo.rollouts import Rollout


@dataclass(frozen=True, slots=True)
class Update:
    """kl: nats a response from the reference, before the update; kl_weight: its price then.

    The losses and clipped (share of tokens outside the clip) are means over the optimizer steps.
    explained: share of the returns' variance that the critic foresaw.
    """

    kl: float
    kl_weight: float
    policy_loss: float
    value_loss: float
    clipped: float
    explained: float


@dataclass(frozen=True, slots=True)
class _Targets:
    """What every optimizer step of an update is held against, all N by T."""

    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


class Learner:
    """policy is trained in place."""

    def __init__(self, policy: Policy, config: PpoConfig) -> None:
        self.policy = policy
        self.config = config
        self.kl = config.loss.kl
        self.critic = Critic(policy)
        self._reference = copy.deepcopy(policy.module).eval().requires_grad_(False)
        for part in policy.module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(policy.module.parameters()), "lr": config.lr},
                {"params": list(self.critic.parameters()), "lr": config.value_lr},
            ],
            weight_decay=0.0,
        )

    def update(self, rollouts: Sequence[Rollout], rewards: Sequence[float], seed: int) -> Update:
        """Learn from `rollouts`, whose raw rewards are `rewards`."""
        batch = batch_of(rollouts, self.policy.device)
        targets, kl_NT = self._targets(batch, self._judged(rollouts, rewards))
        steps = [
            self._step(batch.rows(rows), targets, rows) for rows in self._order(len(rollouts), seed)
        ]
        policy_loss, value_loss, clipped = (sum(c) / len(c) for c in zip(*steps, strict=True))
        kl, weight = kl_NT.sum(1).mean().item(), self.kl
        self._follow_kl_target(kl, len(rollouts))
        explained = _explained(targets, batch.response_NT)
        return Update(kl, weight, policy_loss, value_loss, clipped, explained)

    def save(self, folder: Path) -> None:
        """policy/, as transformers loads it, and learner.pt with all the rest."""
        self.policy.save(folder / "policy")
        state = {
            "critic": self.critic.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "kl": self.kl,
        }
        torch.save(state, folder / "learner.pt")

    def load(self, folder: Path) -> None:
        """What `save` wrote; the reference stays that of the run's start."""
        saved = Policy.load(str(folder / "policy"))
        self.policy.module.load_state_dict(saved.module.state_dict())
        state = torch.load(folder / "learner.pt", map_location=self.policy.device)
        self.critic.load_state_dict(state["critic"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.kl = state["kl"]

    def _judged(self, rollouts: Sequence[Rollout], rewards: Sequence[float]) -> Tensor:
        """rewards_N as they are shaped."""
        loss = self.config.loss
        cut_N = torch.tensor([not rollout.finished for rollout in rollouts])
        rewards_N = torch.tensor(list(rewards)).clamp(-loss.reward_clip, loss.reward_clip)
        return (rewards_N - loss.unfinished_penalty * cut_N).to(self.policy.device)

    @torch.no_grad()
    def _targets(self, batch: RolloutBatch, rewards_N: Tensor) -> tuple[_Targets, Tensor]:
        loss, mask_NT = self.config.loss, batch.response_NT
        self.policy.module.eval()
        self.critic.eval()
        old_NT = self._log_probs(self.policy.module, batch)
        values_NT = torch.cat([self.critic(batch.rows(rows)) for rows in self._slices(batch)])
        kl_NT = objectives.kl_per_token(
            old_NT, self._log_probs(self._reference, batch), loss.estimator
        )
        shaped_NT = objectives.token_rewards(rewards_N, kl_NT, self.kl, mask_NT)
        if loss.whiten_rewards:
            shaped_NT = objectives.whiten(shaped_NT, mask_NT, shift_mean=False)
        advantages_NT, returns_NT = objectives.generalized_advantages(
            shaped_NT, values_NT, mask_NT, loss.gamma, loss.lam
        )
        if loss.whiten_advantages:
            advantages_NT = objectives.whiten(advantages_NT, mask_NT)
        return _Targets(old_NT, values_NT, advantages_NT, returns_NT), kl_NT * mask_NT

    def _step(
        self, batch: RolloutBatch, targets: _Targets, rows: Tensor
    ) -> tuple[float, float, float]:
        """One optimizer step; its policy loss, value loss and clipped share."""
        loss, mask_NT = self.config.loss, batch.response_NT
        self.policy.module.train()
        new_NT = response_log_probs(self.policy.module, batch, self.config.sampling.temperature)
        old_NT = targets.log_probs[rows]
        policy_loss = objectives.policy_loss(
            new_NT, old_NT, targets.advantages[rows], mask_NT, loss.clip
        )
        value_loss = objectives.value_loss(
            self.critic(batch),
            targets.values[rows],
            targets.returns[rows],
            mask_NT,
            loss.value_clip,
        )
        self._optimizer.zero_grad()
        (policy_loss + loss.value_weight * value_loss).backward()  # type: ignore[no-untyped-call]
        for group in self._optimizer.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], self.config.max_grad_norm)
        self._optimizer.step()
        clipped = objectives.clipped_share(new_NT.detach(), old_NT, mask_NT, loss.clip)
        return policy_loss.item(), value_loss.item(), clipped.item()

    def _log_probs(self, module: Any, batch: RolloutBatch) -> Tensor:
        temperature = self.config.sampling.temperature
        parts = [
            response_log_probs(module, batch.rows(rows), temperature)
            for rows in self._slices(batch)
        ]
        return torch.cat(parts)

    def _slices(self, batch: RolloutBatch) -> Sequence[Tensor]:
        return _split(torch.arange(len(batch.ids_NL)), self.config.batch)

    def _order(self, n: int, seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        found: list[Tensor] = []
        for _ in range(self.config.epochs):
            found += _split(torch.randperm(n, generator=generator), self.config.batch)
        return found

    def _follow_kl_target(self, kl: float, n: int) -> None:
        loss = self.config.loss
        if loss.kl_target is not None:
            self.kl = objectives.next_kl(self.kl, kl, loss.kl_target, n, loss.kl_horizon)


def _split(index: Tensor, size: int) -> list[Tensor]:
    return [index[i : i + size] for i in range(0, len(index), size)]


def _explained(targets: _Targets, mask_NT: Tensor) -> float:
    inside = mask_NT.bool()
    returns, values = targets.returns[inside], targets.values[inside]
    return float(1 - (returns - values).var() / returns.var().clamp(min=1e-8))
