"""Advantage estimators: GAE, GRPO and RLOO.

GAE (arXiv 1506.02438) asks a critic for the value of each token. GRPO (arXiv 2402.03300) and RLOO
(arXiv 2402.14740) compare the responses to one prompt with each other instead: a response's
advantage is the same at each of its tokens. In RLOO the KL is subtracted from the response's
reward; in GRPO it is part of the loss. A response whose siblings all ended in errors has advantage
0.

Shape legend: N responses, T tokens of a response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cluster.config import TransformConfig
from cluster.data import transforms
from cluster.rlhf.ppo import losses
from cluster.rlhf.ppo.config import AdvantageEstimator, LossConfig

_BASELINE = {"grpo": TransformConfig("normalise"), "rloo": TransformConfig("leave_one_out")}


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets of every optimizer step of an update, all N by T.

    values, returns: the critic's, None without one. reference: log-probabilities of the policy that
    the run started from.
    """

    log_probs: Tensor
    reference: Tensor
    advantages: Tensor
    values: Tensor | None = None
    returns: Tensor | None = None

    def rows(self, index: Tensor) -> Targets:
        """Some of the responses."""
        return Targets(
            self.log_probs[index],
            self.reference[index],
            self.advantages[index],
            None if self.values is None else self.values[index],
            None if self.returns is None else self.returns[index],
        )


def gae_targets(
    log_probs_NT: Tensor,
    reference_NT: Tensor,
    values_NT: Tensor,
    rewards_N: Tensor,
    mask_NT: Tensor,
    loss: LossConfig,
    kl_coef: float,
) -> Targets:
    """Advantages and returns by the critic's `values_NT`, the KL in the reward of each token."""
    kl_NT = losses.kl_per_token(log_probs_NT, reference_NT, loss.kl_estimator)
    shaped_NT = losses.token_rewards(rewards_N, kl_NT, kl_coef, mask_NT)
    if loss.whiten_rewards:
        shaped_NT = losses.whiten(shaped_NT, mask_NT, shift_mean=False)
    advantages_NT, returns_NT = losses.generalized_advantages(
        shaped_NT, values_NT, mask_NT, loss.gamma, loss.lam
    )
    if loss.whiten_advantages:
        advantages_NT = losses.whiten(advantages_NT, mask_NT)
    return Targets(log_probs_NT, reference_NT, advantages_NT, values_NT, returns_NT)


def group_targets(
    estimator: AdvantageEstimator,
    log_probs_NT: Tensor,
    reference_NT: Tensor,
    rewards_N: Tensor,
    groups_N: Sequence[int],
    mask_NT: Tensor,
    loss: LossConfig,
    kl_coef: float,
) -> Targets:
    """Advantages of `grpo` or `rloo` among equal numbers of `groups_N`."""
    if estimator == "rloo":
        kl_NT = losses.kl_per_token(log_probs_NT, reference_NT, loss.kl_estimator)
        rewards_N = rewards_N - kl_coef * (kl_NT * mask_NT).sum(1)
    found = transforms.apply_by_group(rewards_N.cpu().numpy(), groups_N, [_BASELINE[estimator]])
    advantages_N = torch.from_numpy(found).to(mask_NT)
    return Targets(log_probs_NT, reference_NT, advantages_N[:, None] * mask_NT)
