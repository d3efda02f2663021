"""Checkpoints whose weights are not all there, or not all used."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from support.checkpoints import Change, changed
from torch import Tensor

from cluster.config import EngineConfig
from cluster.engine.engine import Engine
from cluster.errors import ModelRefused


def loaded(model: str) -> Engine:
    return Engine.load(EngineConfig(model=model, device="cpu"))


def rename_head(weights: dict[str, Tensor]) -> None:
    weights["value_head.weight"] = weights.pop("score.weight")


def add(name: str) -> Change:
    def change(weights: dict[str, Tensor]) -> None:
        weights[name] = weights["score.weight"].clone()

    return change


def add_bias(weights: dict[str, Tensor]) -> None:
    weights["score.bias"] = weights["score.weight"].new_full((1,), 5.0)


def widen_head(weights: dict[str, Tensor]) -> None:
    weights["score.weight"] = weights["score.weight"].repeat(2, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("score.weight"), r"lacks score\.weight"),
        (rename_head, r"keeps its head as value_head\.weight and not as the linear"),
        (lambda w: w.pop("model.layers.0.mlp.up_proj.weight"), r"lacks model\.layers\.0\.mlp\.up"),
        (add_bias, r"has score\.bias, which its architecture does not use"),
        (widen_head, r"has score\.weight in another shape than its config"),
        (add("reward_head.weight"), r"has reward_head\.weight, which its architecture"),
        (add("regression_layer.weight"), r"has regression_layer\.weight, which"),
        (add("gating.layers.0.weight"), r"has gating\.layers\.0\.weight, which"),
        (add("model.score.bias"), r"has model\.score\.bias, which"),
    ],
)
def test_weights_that_are_missing_or_not_used_are_refused_by_name(
    tmp_path: Path, smallest_checkpoint: Path, change: Change, words: str
) -> None:
    model = changed(tmp_path / "model", smallest_checkpoint, change)
    with pytest.raises(ModelRefused, match=words):
        loaded(model)


def test_code_of_a_checkpoint_that_may_not_run_is_refused(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    model = changed(tmp_path / "model", smallest_checkpoint, lambda weights: None)
    path = Path(model) / "config.json"
    own = {"auto_map": {"AutoModelForSequenceClassification": "modeling.Own"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    with pytest.raises(ModelRefused, match="trust_remote_code"):
        loaded(model)


def test_a_leftover_of_the_body_is_told_and_refuses_nothing(
    tmp_path: Path, smallest_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "model.layers.0.self_attn.old_buffer"
    model = changed(tmp_path / "model", smallest_checkpoint, add(name))
    with caplog.at_level(logging.WARNING, logger="cluster.engine.loading"):
        loaded(model)
    assert [record for record in caplog.records if name in record.getMessage()]
