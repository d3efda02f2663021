"""What a layer asks of its attention is said in a LayerAttention, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from cluster.engine.attention import IMPLEMENTATION, LayerAttention
from cluster.errors import ConfigError


def call(module: nn.Module | None = None, **kwargs: Any) -> list[LayerAttention]:
    """The LayerAttention that reaches the backend from a layer's call with `kwargs`."""
    seen: list[LayerAttention] = []

    def segments(query: Tensor, key: Tensor, value: Tensor, layer: LayerAttention) -> Tensor:
        seen.append(layer)
        return query.transpose(0, 1)

    state = torch.zeros(1, 2, 5, 4)
    registry: Any = AttentionInterface
    function = registry()[IMPLEMENTATION]
    arguments = {"attention_mask": None, "segments": segments} | kwargs
    function(module or nn.Module(), state, state, state, **arguments)
    return seen


def test_what_a_layer_asks_for_reaches_the_backend() -> None:
    sinks = torch.ones(2)
    module = nn.Module()
    module.layer_idx = 3  # type: ignore[assignment]
    found = call(module, scaling=0.3, sliding_window=4, softcap=50.0, s_aux=sinks)[0]
    assert (found.scale, found.window, found.softcap, found.layer) == (0.3, 4, 50.0, 3)
    assert found.sinks_H is sinks
    assert call()[0] == LayerAttention(scale=0.5)


@pytest.mark.parametrize("harmless", [{"position_ids": 1}, {"use_cache": False}, {"indices": None}])
def test_arguments_that_change_nothing_are_let_through(harmless: dict[str, Any]) -> None:
    assert call(**harmless) == [LayerAttention(scale=0.5)]


@pytest.mark.parametrize(
    "wanted",
    [
        {"position_bias": torch.zeros(1)},
        {"indices": torch.zeros(1)},
        {"is_causal": False},
        {"dropout": 0.1},
        {"attention_mask": torch.zeros(1)},
        {"segments": None},
    ],
    ids=str,
)
def test_what_no_field_stands_for_is_refused_and_not_ignored(wanted: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Module"):
        call(**wanted)


def test_a_layer_that_looks_ahead_is_refused() -> None:
    module = nn.Module()
    module.is_causal = False  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="looks ahead"):
        call(module)


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (LayerAttention(1.0), True),
        (LayerAttention(1.0, window=9), False),
        (LayerAttention(1.0, window=10), True),
        (LayerAttention(1.0, softcap=30.0), False),
        (LayerAttention(1.0, sinks_H=torch.zeros(1)), False),
        (LayerAttention(1.0, alibi_slopes_H=torch.zeros(1)), False),
    ],
)
def test_a_window_counts_only_where_a_context_is_longer(layer: LayerAttention, plain: bool) -> None:
    assert layer.is_plain(10) is plain
