"""The learner's tensors against plain forwards, and its state on disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.rlhf.policy.config import Sampling
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.ppo.batch import batch_of, response_log_probs
from cluster.rlhf.ppo.config import LossConfig, PpoConfig
from cluster.rlhf.ppo.learner import Learner
from cluster.rlhf.ppo.rollouts import Rollout, RolloutWorker, load_weights, weights_of

CONFIG = PpoConfig(
    sampling=Sampling(n=2, max_new_tokens=12, temperature=0.7),
    num_ppo_epochs=2,
    mini_batch_size=4,
    lr=1e-3,
)
ROLLOUTS = [
    Rollout((0, 7, 8, 9, 10), (11, 12, 3), True),
    Rollout((0, 20), (21, 22, 23, 24, 25, 3), True),
    Rollout((0, 30, 31), (32,), False),
    Rollout((0, 7, 8, 9, 10), (40, 41), False),
    Rollout((0, 50, 51, 52), (53, 54, 55, 56), True),
]
REWARDS = [1.0, -2.0, 0.5, 30.0, 0.0]
GROUPS = [0, 1, 1, 0, 1]


@pytest.fixture
def policy(small_policy: Path) -> Policy:
    return Policy.load(str(small_policy))


def alone(policy: Policy, rollout: Rollout, temperature: float) -> list[float]:
    ids = torch.tensor([[*rollout.prompt_ids, *rollout.response_ids]])
    with torch.no_grad():
        logits = policy.module(input_ids=ids).logits[0] / temperature
    every = torch.log_softmax(logits, -1)
    start = len(rollout.prompt_ids)
    return [every[start + i - 1, id_].item() for i, id_ in enumerate(rollout.response_ids)]


def test_log_probabilities_are_those_of_each_response_alone(policy: Policy) -> None:
    batch = batch_of(ROLLOUTS, torch.device("cpu"))
    with torch.no_grad():
        found = response_log_probs(policy.module, batch, 0.7)
    for row, rollout in zip(found, ROLLOUTS, strict=True):
        expected = alone(policy, rollout, 0.7)
        assert row[: len(expected)].tolist() == pytest.approx(expected, abs=1e-5)
        assert (row[len(expected) :] == 0).all()


def test_an_update_lifts_what_was_rewarded_and_sinks_what_was_not(policy: Policy) -> None:
    free = replace(CONFIG, loss=LossConfig(kl_coef=0.0, missing_eos_penalty=0.0), num_ppo_epochs=8)
    learner = Learner(policy, free)
    before = [sum(alone(policy, rollout, 0.7)) for rollout in ROLLOUTS]
    learner.update(ROLLOUTS, [5.0, -5.0, 5.0, -5.0, -5.0], GROUPS, seed=0)
    after = [sum(alone(policy, rollout, 0.7)) for rollout in ROLLOUTS]
    moved = [b > a for a, b in zip(before, after, strict=True)]
    assert moved == [True, False, True, False, False]


def test_a_reward_is_clipped_and_a_cut_off_response_pays(policy: Policy) -> None:
    learner = Learner(policy, CONFIG)
    shaped, cut = learner._shaped(ROLLOUTS, REWARDS)
    assert shaped.tolist() == [1.0, -2.0, -0.5, 9.0, 0.0]
    assert cut == pytest.approx(0.2)


def test_the_first_kl_is_0_and_grows_with_the_updates(policy: Policy) -> None:
    learner = Learner(policy, CONFIG)
    first, second = (learner.update(ROLLOUTS, REWARDS, GROUPS, seed) for seed in (0, 1))
    assert first.kl == pytest.approx(0, abs=1e-5)
    assert abs(second.kl) > 1e-4


def test_a_target_moves_the_price_of_kl(policy: Policy) -> None:
    config = replace(CONFIG, loss=LossConfig(kl_coef=0.1, kl_target=6.0, kl_horizon=100))
    learner = Learner(policy, config)
    learner.update(ROLLOUTS, REWARDS, GROUPS, 0)
    assert learner.kl_coef == pytest.approx(0.1 * (1 - 0.2 * 5 / 100))


def test_a_loaded_learner_goes_on_as_the_saved_one(
    policy: Policy, small_policy: Path, tmp_path: Path
) -> None:
    learner = Learner(policy, CONFIG)
    learner.update(ROLLOUTS, REWARDS, GROUPS, 0)
    (tmp_path / "saved").mkdir()
    learner.save(tmp_path / "saved")
    other = Learner(Policy.load(str(small_policy)), CONFIG)
    other.load(tmp_path / "saved")
    assert learner.update(ROLLOUTS, REWARDS, GROUPS, 1) == other.update(
        ROLLOUTS, REWARDS, GROUPS, 1
    )
    for one, two in zip(policy.module.parameters(), other.policy.module.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_rollout_is_that_of_its_weights_prompts_and_seed(
    policy: Policy, small_policy: Path
) -> None:
    worker = RolloutWorker(str(small_policy))
    prompts: list[Any] = [[{"role": "user", "content": text}] for text in ("Hi", "2 + 2?")]
    start = weights_of(policy)
    first = worker.rollouts(start, "a", prompts, CONFIG.sampling, 5)
    changed = {name: value * 1.5 for name, value in start.items()}
    other = worker.rollouts(changed, "b", prompts, CONFIG.sampling, 5)
    again = worker.rollouts(start, "a", prompts, CONFIG.sampling, 5)
    assert first == again != other
    rollouts, conversations = first
    assert len(rollouts) == len(conversations) == 4
    for rollout, (prompt, text) in zip(rollouts, conversations, strict=True):
        assert list(rollout.prompt_ids) == policy.prompt_ids(prompt)
        shown = [id_ for id_ in rollout.response_ids if rollout.finished or id_]
        assert policy.tokenizer.decode(shown, skip_special_tokens=True).strip() == text


def test_weights_go_there_and_back(policy: Policy, small_policy: Path) -> None:
    other = Policy.load(str(small_policy))
    changed = {name: value + 1 for name, value in weights_of(other).items()}
    load_weights(policy, changed)
    for name, value in weights_of(policy).items():
        assert (value == changed[name]).all()
