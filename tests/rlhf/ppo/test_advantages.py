"""Advantages of groups against the slow way; and how a learner uses them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ConfigError
from cluster.rlhf.policy.config import Sampling
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.ppo.advantages import group_targets
from cluster.rlhf.ppo.config import LossConfig, PpoConfig
from cluster.rlhf.ppo.learner import Learner
from cluster.rlhf.ppo.rollouts import Rollout, RolloutWorker, weights_of

MASK = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
GROUPS = [0, 0, 1, 0, 1]
ROLLOUTS = [
    Rollout((0, 7, 8, 9, 10), (11, 12, 3), True),
    Rollout((0, 7, 8, 9, 10), (21, 22, 23, 24, 25, 3), True),
    Rollout((0, 30, 31), (32,), False),
    Rollout((0, 30, 31), (40, 41), True),
]
REWARDS = [3.0, -3.0, -3.0, 3.0]
CONFIG = PpoConfig(
    sampling=Sampling(n=2, max_new_tokens=12),
    num_ppo_epochs=4,
    mini_batch_size=4,
    lr=2e-3,
    loss=LossConfig(missing_eos_penalty=None),
)


def targets(estimator: Any, rewards: list[float], kl: float = 0.0) -> torch.Tensor:
    old, reference = torch.full_like(MASK, -1.0), torch.full_like(MASK, -1.5)
    return group_targets(
        estimator, old, reference, torch.tensor(rewards), GROUPS, MASK, LossConfig(), kl
    ).advantages


@given(st.lists(st.floats(-10, 10, width=32), min_size=5, max_size=5))
def test_rloo_is_the_reward_less_the_mean_of_the_others(rewards: list[float]) -> None:
    found = targets("rloo", rewards)
    for i, group in enumerate(GROUPS):
        others = [r for j, r in enumerate(rewards) if GROUPS[j] == group and j != i]
        expected = rewards[i] - sum(others) / len(others)
        assert found[i, 0].item() == pytest.approx(expected, abs=1e-4)


def test_rloo_takes_the_kl_of_the_whole_response_off_its_reward() -> None:
    assert targets("rloo", [0.0] * 5, kl=1.0)[:, 0].tolist() == pytest.approx(
        [-0.25, 0.5, -0.5, -0.25, 0.5]  # k1 is 0.5 a token
    )


def test_grpo_is_the_groups_standard_score_at_every_token_and_0_outside() -> None:
    found = targets("grpo", [1.0, 2.0, 5.0, 3.0, 5.0], kl=1.0)
    expected = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(found, expected)


@pytest.fixture
def policy(small_policy: Path) -> Policy:
    return Policy.load(str(small_policy))


def log_prob(policy: Policy, rollout: Rollout) -> float:
    ids = torch.tensor([[*rollout.prompt_ids, *rollout.response_ids]])
    with torch.no_grad():
        every = torch.log_softmax(policy.module(input_ids=ids).logits[0], -1)
    start = len(rollout.prompt_ids)
    return sum(every[start + i - 1, id_].item() for i, id_ in enumerate(rollout.response_ids))


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_an_update_by_groups_lifts_the_better_of_each_and_needs_no_critic(
    policy: Policy, estimator: Any, tmp_path: Path
) -> None:
    learner = Learner(policy, replace(CONFIG, advantage_estimator=estimator))
    before = [log_prob(policy, rollout) for rollout in ROLLOUTS]
    update = learner.update(ROLLOUTS, REWARDS, [0, 0, 1, 1], seed=0)
    after = [log_prob(policy, rollout) for rollout in ROLLOUTS]
    assert [b > a for a, b in zip(before, after, strict=True)] == [True, False, False, True]
    assert learner.critic is None
    assert update.value_loss == update.explained_variance == 0.0
    learner.save(tmp_path)
    other = Learner(Policy.load(str(tmp_path / "policy")), learner.config)
    other.load(tmp_path)


def test_grpo_pays_for_kl_in_the_loss(policy: Policy) -> None:
    config = replace(CONFIG, advantage_estimator="grpo")
    learner = Learner(policy, config)
    learner.update(ROLLOUTS, REWARDS, [0, 0, 1, 1], seed=0)
    dear = replace(config, loss=replace(config.loss, kl_coef=10.0))
    back = Learner(policy, dear)
    back._reference = learner._reference
    drift = [abs(back.update(ROLLOUTS, [0.0] * 4, [0, 0, 1, 1], seed).kl) for seed in range(6)]
    assert drift[-1] < drift[0]  # nothing is rewarded: the way back is all there is to gain


@pytest.mark.parametrize("estimator", ["gae", "grpo"])
def test_how_a_mini_batch_is_cut_changes_rounding_only(small_policy: Path, estimator: Any) -> None:
    found = []
    for micro in (None, 1, 3):
        config = replace(
            CONFIG, advantage_estimator=estimator, micro_train_batch_size=micro, num_ppo_epochs=1
        )
        learner = Learner(Policy.load(str(small_policy)), replace(config, max_grad_norm=1e9))
        update = learner.update(ROLLOUTS, REWARDS, [0, 0, 1, 1], seed=0)
        gradients = [p.grad for p in learner.policy.module.parameters()]
        found.append((update, gradients))
    (whole, gradients), *others = found
    for update, other in others:
        assert update.policy_loss == pytest.approx(whole.policy_loss, abs=1e-5)
        assert update.value_loss == pytest.approx(whole.value_loss, rel=1e-4)
        for a, b in zip(gradients, other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_a_group_of_one_is_refused(policy: Policy) -> None:
    config = replace(CONFIG, advantage_estimator="grpo", sampling=Sampling(n=1))
    with pytest.raises(ConfigError, match=r"sampling\.n"):
        Learner(policy, config)


def test_a_bfloat16_policy_samples_from_the_weights_that_are_trained(
    policy: Policy, small_policy: Path
) -> None:
    learner = Learner(policy, replace(CONFIG, bf16=True))
    before = policy.module.lm_head.weight.clone()
    learner.update(ROLLOUTS, REWARDS, [0, 0, 1, 1], seed=0)
    assert policy.module.lm_head.weight.dtype is torch.float32
    assert not torch.equal(policy.module.lm_head.weight, before)
    sent = weights_of(policy, bf16=True)
    assert (
        sum(v.nbytes for v in sent.values())
        == sum(v.nbytes for v in weights_of(policy).values()) / 2
    )
    worker = RolloutWorker(str(small_policy), bf16=True)
    worker.rollouts(sent, "a", [[{"role": "user", "content": "Hi"}]], CONFIG.sampling, 0)
    for name, value in worker._policy.module.state_dict().items():
        assert torch.equal(value, policy.module.state_dict()[name].bfloat16()), name


def test_weights_are_copied_in_once_per_version(
    small_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.rlhf.ppo import rollouts

    copied: list[int] = []
    monkeypatch.setattr(rollouts, "load_weights", lambda *_: copied.append(1))
    worker = RolloutWorker(str(small_policy))
    prompts: list[Any] = [[{"role": "user", "content": "Hi"}]]
    for version in ("a", "a", "b", "b", "a"):
        worker.rollouts({}, version, prompts, CONFIG.sampling, 0)
    assert len(copied) == 3
