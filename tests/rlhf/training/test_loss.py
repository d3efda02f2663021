"""The loss is what its sources say, in float32."""

import math

import pytest
import torch

from cluster.rlhf.training.loss import bradley_terry_loss


def rewards(*values: float) -> torch.Tensor:
    return torch.tensor(values, requires_grad=True)


def test_equal_rewards_cost_log_two() -> None:
    assert bradley_terry_loss(rewards(3.0), rewards(3.0)).item() == pytest.approx(math.log(2))


def test_it_is_the_mean_of_minus_log_sigmoid_of_the_difference() -> None:
    loss = bradley_terry_loss(rewards(1.0, -2.0), rewards(0.5, 1.0))
    by_hand = [math.log1p(math.exp(-0.5)), math.log1p(math.exp(3.0))]
    assert loss.item() == pytest.approx(sum(by_hand) / 2)


def test_a_margin_is_taken_off_the_difference() -> None:
    with_margin = bradley_terry_loss(rewards(1.5), rewards(0.0), torch.tensor([0.5]))
    assert with_margin.item() == pytest.approx(
        bradley_terry_loss(rewards(1.0), rewards(0.0)).item()
    )


def test_centering_adds_the_squared_sum_of_each_pair() -> None:
    plain = bradley_terry_loss(rewards(1.0, 2.0), rewards(0.5, -1.0)).item()
    centred = bradley_terry_loss(
        rewards(1.0, 2.0), rewards(0.5, -1.0), center_rewards_coefficient=0.01
    ).item()
    assert centred - plain == pytest.approx(0.01 * (1.5**2 + 1.0**2) / 2, rel=1e-4)


def test_bfloat16_rewards_are_subtracted_in_float32() -> None:
    chosen, rejected = torch.tensor([10.0]).bfloat16(), torch.tensor([3.015625]).bfloat16()
    exact = math.log1p(math.exp(-(10.0 - 3.015625)))
    loss = bradley_terry_loss(chosen, rejected)
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(exact, rel=1e-3)


def test_the_gradient_lifts_the_chosen_as_much_as_it_sinks_the_rejected() -> None:
    chosen, rejected = rewards(0.0), rewards(0.0)
    bradley_terry_loss(chosen, rejected).backward()  # type: ignore[no-untyped-call]
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.5)
    assert rejected.grad.item() == pytest.approx(0.5)
