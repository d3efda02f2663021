"""The training loop: its gradient, its schedule, and that it can learn."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.model import PackedRewardModel
from cluster.errors import ConfigError
from cluster.rlhf.synthetic.preferences import groups, of_each
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.loop import new_trainer, train
from cluster.rlhf.training.loss import bradley_terry_loss
from cluster.rlhf.training.metrics import ScoredPairs, accuracy, accuracy_by_kind, best_on_top
from cluster.rlhf.training.model_setup import load_starting_model
from cluster.rlhf.training.pairs import Pair
from cluster.rlhf.training.trainer import Trainer
from cluster.tiny.judging import encode_pairs


@pytest.fixture(scope="module")
def pairs(smallest_checkpoint: Path) -> list[Pair]:
    encoder = ChatEncoder.load(EngineConfig(model=str(smallest_checkpoint)))
    return encode_pairs(encoder, groups("train", of_each(4), 0))


@pytest.fixture
def config(smallest_checkpoint: Path) -> TrainConfig:
    return TrainConfig(
        model=str(smallest_checkpoint),
        device="cpu",
        mixed_precision="no",
        lr=5e-3,
        warmup_ratio=0.0,
    )


def gradients(model: PackedRewardModel) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
def test_32_pairs_are_learnt_by_heart(config: TrainConfig, pairs: list[Pair]) -> None:
    few = pairs[:: len(pairs) // 32][:32]
    config = replace(config, epochs=60, pairs_per_step=32)
    trainer = new_trainer(load_starting_model(config).model, few, config)
    train(trainer, few, lambda _: None)
    assert all(judged.right for judged in trainer.judge(few))


def test_the_gradient_does_not_depend_on_how_a_step_is_cut(
    config: TrainConfig, pairs: list[Pair]
) -> None:
    found = []
    for forward_tokens in (1, 100_000):
        model = load_starting_model(config).model
        cut = replace(config, forward_tokens=forward_tokens, lr=0.0, max_grad_norm=1e9)
        report = Trainer(model, cut, 1).step(pairs[:24])
        found.append((report, gradients(model)))
    (one_by_one, one_grads), (together, all_grads) = found
    assert one_by_one.loss == pytest.approx(together.loss, rel=1e-5)
    assert one_by_one.accuracy == pytest.approx(together.accuracy)
    assert all_grads
    for name, gradient in all_grads.items():
        torch.testing.assert_close(one_grads[name], gradient, atol=1e-5, rtol=1e-3)


def test_a_step_reports_the_loss_of_the_rewards_before_it(
    config: TrainConfig, pairs: list[Pair]
) -> None:
    trainer = Trainer(load_starting_model(config).model, config, 10)
    before = trainer.judge(pairs[:16])
    report = trainer.step(pairs[:16])
    chosen, rejected = (torch.tensor([getattr(j, side) for j in before])
                        for side in ("chosen", "rejected"))  # fmt: skip
    assert report.loss == pytest.approx(bradley_terry_loss(chosen, rejected).item(), rel=1e-5)
    assert report.accuracy == pytest.approx(sum(j.right for j in before) / 16)


@pytest.mark.parametrize(("warmup", "least"), [(0.1, 0.0), (0.03, 0.2), (0.0, 0.0)])
def test_each_step_has_the_learning_rate_of_transformers_trainer(
    config: TrainConfig, pairs: list[Pair], warmup: float, least: float
) -> None:
    from transformers import get_cosine_with_min_lr_schedule_with_warmup

    config = replace(config, lr=1e-3, warmup_ratio=warmup, min_lr_ratio=least, epochs=40)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=config.lr)
    theirs = get_cosine_with_min_lr_schedule_with_warmup(
        optimizer, math.ceil(warmup * 40), 40, min_lr_rate=least
    )
    found: list[float] = []
    trainer = new_trainer(load_starting_model(config).model, pairs[:2], config)
    train(trainer, pairs[:2], lambda report: found.append(report.lr))
    for lr in found:
        assert lr == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert len(found) == 40
    assert (found[0] == 0.0) == (warmup > 0)


def test_nothing_to_train_on_is_refused(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="no pair"):
        new_trainer(load_starting_model(config).model, [], config)


def test_a_tie_is_wrong(pairs: list[Pair]) -> None:
    rewards = [(1.0, 0.0), (1.0, 1.0), (2.0, 3.0), (1.0, -1.0)]
    judged = [ScoredPairs(pairs[0], *both) for both in rewards]
    assert accuracy(judged) == 0.5


def test_accuracy_is_told_by_kind(config: TrainConfig, pairs: list[Pair]) -> None:
    judged = Trainer(load_starting_model(config).model, config, 1).judge(pairs)
    assert len(judged) == len(pairs)
    shares = accuracy_by_kind(judged)
    first = pairs[0].kind
    of_first = [j.right for j in judged if j.pair.kind == first]
    assert shares[first] == sum(of_first) / len(of_first)


def test_the_best_is_on_top_only_where_it_beats_all_others(pairs: list[Pair]) -> None:
    group = [pair for pair in pairs if pair.prompt_key == pairs[0].prompt_key]
    rejected = [pair.rejected for pair in group]
    best = next(p.chosen for p in group if all(p.chosen is not other for other in rejected))
    against_best = [pair for pair in group if pair.chosen is best]
    assert len(against_best) >= 2

    def judged(rewards: list[float]) -> list[ScoredPairs]:
        return [ScoredPairs(p, 1.0, r) for p, r in zip(against_best, rewards, strict=True)]

    n = len(against_best)
    assert best_on_top(judged([0.0] * n)) == {group[0].kind: 1.0}
    assert best_on_top(judged([0.0] * (n - 1) + [2.0])) == {group[0].kind: 0.0}
