"""Checkpoints whose weights are not all there, or not all used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cluster.config import EngineConfig
from cluster.engine.engine import Engine
from cluster.errors import ModelRefused

Change = Callable[[dict[str, Tensor]], object]


def changed(folder: Path, source: Path, change: Change) -> EngineConfig:
    shutil.copytree(source, folder)
    with safe_open(source / "model.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return EngineConfig(model=str(folder), device="cpu")


def rename_head(weights: dict[str, Tensor]) -> None:
    weights["value_head.weight"] = weights.pop("score.weight")


def add_bias(weights: dict[str, Tensor]) -> None:
    weights["score.bias"] = weights["score.weight"].new_full((1,), 5.0)


def widen_head(weights: dict[str, Tensor]) -> None:
    weights["score.weight"] = weights["score.weight"].repeat(2, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("score.weight"), r"lacks score\.weight"),
        (rename_head, r"lacks score\.weight; it has value_head\.weight instead"),
        (lambda w: w.pop("model.layers.0.mlp.up_proj.weight"), r"lacks model\.layers\.0\.mlp\.up"),
        (add_bias, r"has score\.bias, which its architecture does not use"),
        (widen_head, "score.weight|shape"),
    ],
)
def test_weights_that_are_missing_or_not_used_are_refused_by_name(
    tmp_path: Path, smallest_checkpoint: Path, change: Change, words: str
) -> None:
    config = changed(tmp_path / "model", smallest_checkpoint, change)
    with pytest.raises(ModelRefused, match=words):
        Engine.load(config)


def test_code_of_a_checkpoint_that_may_not_run_is_refused(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    config = changed(tmp_path / "model", smallest_checkpoint, lambda weights: None)
    path = Path(config.model) / "config.json"
    own = {"auto_map": {"AutoModelForSequenceClassification": "modeling.Own"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    with pytest.raises(ModelRefused, match="trust_remote_code"):
        Engine.load(config)
