"""PPO's arithmetic on worked examples and against its definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cluster.rlhf.ppo import losses as ppo

MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])


def row(*values: float) -> Tensor:
    return torch.tensor([values])


def test_k1_is_the_log_ratio_and_k3_is_never_negative() -> None:
    policy, reference = row(-1.0, -2.0), row(-1.5, -1.0)
    assert ppo.kl_per_token(policy, reference, "k1").tolist() == [[0.5, -1.0]]
    k3 = ppo.kl_per_token(policy, reference, "k3")
    assert k3[0].tolist() == pytest.approx([math.exp(-0.5) - 1 + 0.5, math.e - 1 - 1])
    assert (k3 >= 0).all()


def test_both_estimators_have_the_mean_of_the_kl() -> None:
    policy = torch.tensor([0.5, 0.3, 0.2]).log()
    reference = torch.tensor([0.2, 0.3, 0.5]).log()
    exact = (policy.exp() * (policy - reference)).sum().item()
    for estimator in ("k1", "k3"):
        each = ppo.kl_per_token(policy, reference, estimator)
        assert (policy.exp() * each).sum().item() == pytest.approx(exact, abs=1e-6)


def test_the_reward_lies_on_the_last_token_and_the_kl_on_each() -> None:
    kl = torch.tensor([[1.0, 2.0, 3.0], [4.0, 9.0, 9.0]])
    found = ppo.token_rewards(torch.tensor([10.0, -10.0]), kl, 0.1, MASK)
    torch.testing.assert_close(found, torch.tensor([[-0.1, -0.2, 9.7], [-10.4, 0.0, 0.0]]))


def test_advantages_with_lambda_1_are_returns_less_values() -> None:
    rewards, values = row(1.0, 2.0, 3.0), row(0.5, 0.25, 4.0)
    advantages, returns = ppo.generalized_advantages(
        rewards, values, torch.ones(1, 3), gamma=0.5, lam=1.0
    )
    assert returns[0].tolist() == pytest.approx([1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3.0])
    torch.testing.assert_close(advantages, returns - values)


def test_advantages_with_lambda_0_are_one_step_errors() -> None:
    rewards, values = row(1.0, 2.0, 3.0), row(0.5, 0.25, 4.0)
    advantages, _ = ppo.generalized_advantages(
        rewards, values, torch.ones(1, 3), gamma=1.0, lam=0.0
    )
    assert advantages[0].tolist() == pytest.approx([1 + 0.25 - 0.5, 2 + 4 - 0.25, 3 - 4])


@given(st.integers(1, 4), st.floats(0.1, 1.0), st.floats(0.0, 1.0), st.integers(0, 2**31))
def test_what_pads_a_response_changes_nothing(
    length: int, gamma: float, lam: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards, values, noise = (torch.randn(1, 6, generator=generator) for _ in range(3))
    mask = (torch.arange(6) < length).float()[None]
    alone = ppo.generalized_advantages(
        rewards[:, :length], values[:, :length], mask[:, :length], gamma, lam
    )
    padded = ppo.generalized_advantages(
        rewards * mask, values * mask + noise * (1 - mask), mask, gamma, lam
    )
    for short, long in zip(alone, padded, strict=True):
        torch.testing.assert_close(long[:, :length], short)
        assert (long[:, length:] == 0).all()


def test_whitened_values_have_mean_0_and_deviation_1_within_the_mask() -> None:
    values = torch.tensor([[1.0, 5.0, 3.0], [7.0, 100.0, 100.0]])
    whitened = ppo.whiten(values, MASK)
    inside = whitened[MASK.bool()]
    assert inside.mean().item() == pytest.approx(0, abs=1e-6)
    assert inside.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)
    assert (whitened[~MASK.bool()] == 0).all()
    kept = ppo.whiten(values, MASK, shift_mean=False)[MASK.bool()]
    assert kept.mean().item() == pytest.approx(4, abs=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, -1.2), (0.5, 1.0, -0.5), (1.5, -1.0, 1.5), (0.5, -1.0, 0.8)],
)
def test_the_objective_is_clipped_where_that_is_worse(
    ratio: float, advantage: float, expected: float
) -> None:
    loss = ppo.policy_loss(
        row(math.log(ratio)), row(0.0), row(advantage), torch.ones(1, 1), clip=0.2
    )
    assert loss.item() == pytest.approx(expected)


def test_a_clipped_ratio_gives_no_gradient() -> None:
    for ratio, moves in ((1.5, False), (1.1, True)):
        new = row(math.log(ratio)).requires_grad_()
        ppo.policy_loss(new, row(0.0), row(1.0), torch.ones(1, 1), clip=0.2).backward()  # type: ignore[no-untyped-call]
        assert new.grad is not None
        assert bool(new.grad.abs().sum() > 0) == moves


def test_the_value_loss_takes_the_worse_of_moved_and_near() -> None:
    loss = ppo.value_loss(row(2.0), row(0.0), row(2.0), torch.ones(1, 1), clip=0.5)
    assert loss.item() == pytest.approx(0.5 * 1.5**2)


def test_a_token_is_clipped_where_the_clip_is_the_worse_one() -> None:
    new = torch.tensor([[0.5, 0.5, 0.1], [-1.0, 9.0, 9.0]])
    advantages = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]])
    found = ppo.clip_fraction(new, torch.zeros(2, 3), advantages, MASK, 0.2).item()
    assert found == 0.5  # the first of each row; the second is outside, and the clip does not bind


@pytest.mark.parametrize(("seen", "factor"), [(12.0, 1.02), (6.0, 1.0), (0.0, 0.98), (6.6, 1.01)])
def test_the_price_of_kl_follows_its_target(seen: float, factor: float) -> None:
    assert ppo.next_kl_coef(0.1, seen, 6.0, n=100, horizon=1000) == pytest.approx(0.1 * factor)
