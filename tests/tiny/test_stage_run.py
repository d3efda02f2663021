"""Run of a stage: the mean of its runs' weights, each run from the same start."""

from dataclasses import replace

import torch

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.model import PackedRewardModel
from cluster.rlhf.synthetic.preferences import GradedGroup, groups
from cluster.rlhf.training.model_setup import load_starting_model
from cluster.tiny.recipe import Recipe
from cluster.tiny.stage_run import run_stage

CONFIG = replace(Recipe(texts="").training, model="tiny", pairs_per_step=4, max_steps=2, lr=1e-2)


def some_groups(seed: int) -> list[GradedGroup]:
    return list(groups("train", {"addition": 4}, seed))


def weights_after(*runs: list[GradedGroup]) -> list[torch.Tensor]:
    """What `tiny` has become after a stage of these runs."""
    model: PackedRewardModel = load_starting_model(CONFIG).model
    encoder = ChatEncoder.load(EngineConfig(model="tiny"))
    run_stage(model, encoder, runs, CONFIG, lambda _: lambda _: None, lambda _: None)
    return [weight.detach().clone() for weight in model.parameters()]


def test_two_runs_end_with_the_mean_of_what_each_ends_with_alone() -> None:
    first, second = weights_after(some_groups(1)), weights_after(some_groups(2))
    both = weights_after(some_groups(1), some_groups(2))
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for a, b, mean in zip(first, second, both, strict=True):
        # All three are rounded to bfloat16, which keeps eight bits.
        lost = 2**-7 * torch.maximum(a.abs(), b.abs())
        assert torch.all((mean - (a + b) / 2).abs() <= lost)


def test_a_stage_leaves_what_its_file_will_hold() -> None:
    for weight in weights_after(some_groups(1)):
        assert torch.equal(weight, weight.bfloat16().float())
