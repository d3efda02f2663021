"""PPO learner: updates the policy, and the critic if there is one, from a step's rollouts.

Invariant: the result of an update depends on the state before it, the rollouts, the rewards and the
seed alone; the number of forwards per mini-batch changes rounding only. The reference is the policy
that the run started from. Sources: see `losses` and `advantages`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.errors import ConfigError
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.ppo import losses
from cluster.rlhf.ppo.advantages import Targets, gae_targets, group_targets
from cluster.rlhf.ppo.batch import RolloutBatch, batch_of, response_log_probs
from cluster.rlhf.ppo.config import PpoConfig
from cluster.rlhf.ppo.critic import Critic
from cluster.rlhf.ppo.rollouts import Rollout


@dataclass(frozen=True, slots=True)
class Update:
    """kl: nats per response from the reference, before the update; kl_coef: its coefficient then.

    The losses and clip_fraction (share of tokens where the clip binds) are means over the optimizer
    steps. explained_variance: share of the returns' variance that the critic predicted. value_loss
    and explained_variance are 0 without a critic. reward_clip_fraction: of the responses whose
    reward was cut.
    """

    kl: float
    kl_coef: float
    policy_loss: float
    value_loss: float
    clip_fraction: float
    explained_variance: float
    reward_clip_fraction: float


class Learner:
    """policy is trained in place. critic: None if advantages come from groups."""

    def __init__(self, policy: Policy, config: PpoConfig) -> None:
        gae = config.advantage_estimator == "gae"
        if not gae and config.sampling.n < 2:
            raise ConfigError(f"{config.advantage_estimator} needs a `sampling.n` of 2 or more")
        self.policy = policy
        self.config = config
        self.kl_coef = config.loss.kl_coef
        self.critic = Critic(policy) if gae else None
        reference = copy.deepcopy(policy.module).eval().requires_grad_(False)
        self._reference = reference.bfloat16() if config.bf16 else reference
        for part in policy.module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        groups = [{"params": list(policy.module.parameters()), "lr": config.lr}]
        if self.critic is not None:
            groups.append({"params": list(self.critic.parameters()), "lr": config.value_lr})
        self._optimizer = torch.optim.AdamW(groups, weight_decay=0.0)

    def update(
        self,
        rollouts: Sequence[Rollout],
        rewards: Sequence[float],
        groups: Sequence[int],
        seed: int,
    ) -> Update:
        """Learn from `rollouts` and their `rewards`. groups: equal for the rollouts of one
        prompt."""
        batch = batch_of(rollouts, self.policy.device)
        shaped_N, cut = self._shaped(rollouts, rewards)
        with torch.no_grad():
            targets = self._targets(batch, shaped_N, groups)
        steps = [self._step(batch, targets, rows) for rows in self._order(len(rollouts), seed)]
        policy_loss, value_loss, clipped = (sum(c) / len(c) for c in zip(*steps, strict=True))
        kl, kl_coef = self._kl(batch, targets), self.kl_coef
        self._follow_kl_target(kl, len(rollouts))
        explained = _explained(targets, batch.response_NT)
        return Update(kl, kl_coef, policy_loss, value_loss, clipped, explained, cut)

    def save(self, folder: Path) -> None:
        """Save everything that the next update depends on, except the reference."""
        self.policy.save(folder / "policy")
        state = {
            "critic": None if self.critic is None else self.critic.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "kl_coef": self.kl_coef,
        }
        torch.save(state, folder / "learner.pt")

    def load(self, folder: Path) -> None:
        """Load what `save` wrote; the reference stays that of the run's start."""
        saved = Policy.load(str(folder / "policy"))
        self.policy.module.load_state_dict(saved.module.state_dict())
        state = torch.load(folder / "learner.pt", map_location=self.policy.device)
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.kl_coef = state["kl_coef"]

    def _shaped(
        self, rollouts: Sequence[Rollout], rewards: Sequence[float]
    ) -> tuple[Tensor, float]:
        """rewards_N as used for learning, and the share of them that were clipped."""
        loss = self.config.loss
        cut_off_N = torch.tensor([not rollout.finished for rollout in rollouts])
        given_N = torch.tensor(list(rewards), dtype=torch.float32)
        kept_N = given_N.clamp(*loss.reward_clip_range) if loss.reward_clip_range else given_N
        fraction = (kept_N != given_N).float().mean().item()
        shaped_N = kept_N - (loss.missing_eos_penalty or 0.0) * cut_off_N
        return shaped_N.to(self.policy.device), fraction

    def _targets(self, batch: RolloutBatch, rewards_N: Tensor, groups: Sequence[int]) -> Targets:
        config, mask_NT = self.config, batch.response_NT
        self.policy.module.eval()
        old_NT = self._log_probs(self.policy.module, batch)
        reference_NT = self._log_probs(self._reference, batch)
        if self.critic is None:
            return group_targets(
                config.advantage_estimator,
                old_NT,
                reference_NT,
                rewards_N,
                groups,
                mask_NT,
                config.loss,
                self.kl_coef,
            )
        self.critic.eval()
        parts = []
        for rows in self._micro(torch.arange(len(mask_NT))):
            with self._arithmetic():
                parts.append(self.critic(batch.rows(rows)))
        values_NT = torch.cat(parts)
        return gae_targets(
            old_NT, reference_NT, values_NT, rewards_N, mask_NT, config.loss, self.kl_coef
        )

    def _step(
        self, batch: RolloutBatch, targets: Targets, rows: Tensor
    ) -> tuple[float, float, float]:
        """One optimizer step; its policy loss, value loss and clip fraction."""
        self.policy.module.train()
        self._optimizer.zero_grad()
        n_tokens = batch.response_NT[rows].sum()
        sums = torch.zeros(3)
        for micro in self._micro(rows):
            part = batch.rows(micro)
            share = part.response_NT.sum() / n_tokens
            losses = self._losses(part, targets.rows(micro))
            loss = losses[0] + self.config.loss.vf_coef * losses[1]
            (share * loss).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack(losses).detach().cpu() * share.cpu()
        for group in self._optimizer.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], self.config.max_grad_norm)
        self._optimizer.step()
        policy_loss, value_loss, clipped = sums.tolist()
        return policy_loss, value_loss, clipped

    def _losses(self, batch: RolloutBatch, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Policy loss, value loss and clip fraction: means over the tokens of `batch`."""
        loss, mask_NT = self.config.loss, batch.response_NT
        with self._arithmetic():
            new_NT = response_log_probs(self.policy.module, batch, self._temperature)
        old_NT, advantages_NT = targets.log_probs, targets.advantages
        clipping = old_NT, advantages_NT, mask_NT, loss.cliprange
        policy_loss = losses.policy_loss(new_NT, *clipping)
        if self.config.advantage_estimator == "grpo" and self.kl_coef:
            kl_NT = losses.kl_per_token(new_NT, targets.reference, "k3")
            policy_loss = policy_loss + self.kl_coef * losses.masked_mean(kl_NT, mask_NT)
        value_loss = torch.zeros_like(policy_loss)
        if self.critic is not None and targets.values is not None and targets.returns is not None:
            with self._arithmetic():
                values_NT = self.critic(batch)
            value_loss = losses.value_loss(
                values_NT, targets.values, targets.returns, mask_NT, loss.cliprange_value
            )
        return policy_loss, value_loss, losses.clip_fraction(new_NT.detach(), *clipping)

    @property
    def _temperature(self) -> float:
        return self.config.sampling.temperature

    def _arithmetic(self) -> AbstractContextManager[Any]:
        kind = self.policy.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.config.bf16)

    def _log_probs(self, module: Any, batch: RolloutBatch) -> Tensor:
        parts = []
        for rows in self._micro(torch.arange(len(batch.ids_NL))):
            with self._arithmetic():
                parts.append(response_log_probs(module, batch.rows(rows), self._temperature))
        return torch.cat(parts)

    def _micro(self, rows: Tensor) -> Iterator[Tensor]:
        """`rows` split into forwards of at most `micro_train_batch_size`, by default a whole
        mini-batch."""
        yield from _split(rows, self.config.micro_train_batch_size or self.config.mini_batch_size)

    def _order(self, n: int, seed: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.config.num_ppo_epochs):
            yield from _split(torch.randperm(n, generator=generator), self.config.mini_batch_size)

    def _kl(self, batch: RolloutBatch, targets: Targets) -> float:
        """Nats per response from the reference, before the update."""
        estimator = self.config.loss.kl_estimator
        kl_NT = losses.kl_per_token(targets.log_probs, targets.reference, estimator)
        return (kl_NT * batch.response_NT).sum(1).mean().item()

    def _follow_kl_target(self, kl: float, n: int) -> None:
        loss = self.config.loss
        if loss.kl_target is not None:
            self.kl_coef = losses.next_kl_coef(self.kl_coef, kl, loss.kl_target, n, loss.kl_horizon)


def _split(index: Tensor, size: int) -> list[Tensor]:
    return [index[i : i + size] for i in range(0, len(index), size)]


def _explained(targets: Targets, mask_NT: Tensor) -> float:
    if targets.returns is None or targets.values is None:
        return 0.0
    inside = mask_NT.bool()
    returns, values = targets.returns[inside], targets.values[inside]
    return float(1 - (returns - values).var() / returns.var().clamp(min=1e-8))
