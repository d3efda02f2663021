"""PPO losses and KL penalties: pure functions of tensors.

Sources: the objective is Schulman et al. 2017 (arXiv 1707.06347), the advantages Schulman et al.
2015 (arXiv 1506.02438), the KL in the reward and its controller Ziegler et al. 2019 (arXiv
1909.08593), the estimators J. Schulman's note "Approximating KL divergence", whitening and the
place of the reward TRL's PPOTrainer.

Shape legend: N responses, T tokens of a response. mask_NT is 1.0 on the tokens of a response, its
end among them, and 0.0 on what pads it; outside the mask results are 0 or meaningless.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cluster.rlhf.ppo.config import Estimator


def kl_per_token(policy_NT: Tensor, reference_NT: Tensor, estimator: Estimator) -> Tensor:
    """KL(policy || reference) estimated at each sampled token, from its log-probabilities.

    k1 is unbiased and may be negative; k3 is never negative.
    """
    log_ratio_NT = reference_NT - policy_NT
    if estimator == "k1":
        return -log_ratio_NT
    return torch.expm1(log_ratio_NT) - log_ratio_NT


def token_rewards(rewards_N: Tensor, kl_NT: Tensor, kl_coef: float, mask_NT: Tensor) -> Tensor:
    """-kl_coef * KL at each token, and a response's reward at its last one."""
    shaped_NT = -kl_coef * kl_NT * mask_NT
    last_N = mask_NT.sum(1).long() - 1
    shaped_NT[torch.arange(len(rewards_N)), last_N] += rewards_N
    return shaped_NT


def generalized_advantages(
    rewards_NT: Tensor, values_NT: Tensor, mask_NT: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """advantages_NT and returns_NT = advantages + values.

    The value after a response's last token is 0: a response is a whole episode.
    """
    advantages_NT = torch.zeros_like(rewards_NT)
    following_N = torch.zeros_like(rewards_NT[:, 0])
    next_value_N = torch.zeros_like(following_N)
    for t in reversed(range(rewards_NT.shape[1])):
        inside_N = mask_NT[:, t]
        delta_N = rewards_NT[:, t] + gamma * next_value_N - values_NT[:, t]
        following_N = inside_N * (delta_N + gamma * lam * following_N)
        next_value_N = inside_N * values_NT[:, t]
        advantages_NT[:, t] = following_N
    return advantages_NT, (advantages_NT + values_NT) * mask_NT


def masked_mean(values_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Mean over the tokens of all responses, with equal weight per token."""
    return (values_NT * mask_NT).sum() / mask_NT.sum()


def whiten(values_NT: Tensor, mask_NT: Tensor, shift_mean: bool = True) -> Tensor:
    """Scale to a standard deviation of 1 over all tokens and, with `shift_mean`, shift to a mean of
    0."""
    mean = masked_mean(values_NT, mask_NT)
    variance = masked_mean((values_NT - mean).square(), mask_NT)
    whitened_NT = (values_NT - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened_NT if shift_mean else whitened_NT + mean) * mask_NT


def policy_loss(
    new_NT: Tensor, old_NT: Tensor, advantages_NT: Tensor, mask_NT: Tensor, clip: float
) -> Tensor:
    """The clipped objective, to be minimized."""
    ratio_NT = (new_NT - old_NT).exp()
    clipped_NT = ratio_NT.clamp(1 - clip, 1 + clip)
    worse_NT = torch.maximum(-advantages_NT * ratio_NT, -advantages_NT * clipped_NT)
    return masked_mean(worse_NT, mask_NT)


def value_loss(
    new_NT: Tensor, old_NT: Tensor, returns_NT: Tensor, mask_NT: Tensor, clip: float
) -> Tensor:
    """Half the squared error, or that of the value clipped to within `clip` of the old one if it is
    larger."""
    near_NT = old_NT + (new_NT - old_NT).clamp(-clip, clip)
    worse_NT = torch.maximum((new_NT - returns_NT).square(), (near_NT - returns_NT).square())
    return 0.5 * masked_mean(worse_NT, mask_NT)


def clip_fraction(
    new_NT: Tensor, old_NT: Tensor, advantages_NT: Tensor, mask_NT: Tensor, clip: float
) -> Tensor:
    """Share of tokens where the clip binds, as TRL and OpenRLHF count it: the ratio is outside, and
    the clipped objective is the worse one."""
    ratio_NT = (new_NT - old_NT).exp()
    clipped_NT = ratio_NT.clamp(1 - clip, 1 + clip)
    binds_NT = -advantages_NT * clipped_NT > -advantages_NT * ratio_NT
    return masked_mean(binds_NT.float(), mask_NT)


def next_kl_coef(kl_coef: float, seen: float, target: float, n: int, horizon: int) -> float:
    """`kl_coef` after `n` responses of `seen` nats: larger where they are above `target`."""
    error = min(0.2, max(-0.2, seen / target - 1))
    return kl_coef * (1 + error * n / horizon)
