"""Attention over the segments of a Batch.

A backend turns a Batch into an `Attend`: a callable that the model's attention layers run on their
queries, keys and values. transformers passes it through the model call as the keyword argument
`segments`, so no global is needed and any decoder that goes through `AttentionInterface` works.

Shape legend: T tokens of the batch, H query heads, K key/value heads (H = K·G), D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface

from cluster.engine.packing import Batch
from cluster.errors import ConfigError

Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""(query_HTD, key_KTD, value_KTD, scale) -> out_THD."""

IMPLEMENTATION = "segments"
"""The name under which transformers knows our attention function."""


class Backend(Protocol):
    """Prepares a batch once; the result serves every layer.

    isolate: a token's bits must not depend on the other sequences of the batch.
    """

    def __call__(self, batch: Batch, device: torch.device, isolate: bool) -> Attend: ...


_BACKENDS = {
    "cpu": "cluster.engine.attention.cpu:prepare",
    "gathered": "cluster.engine.attention.gathered:prepare",
    "padded": "cluster.engine.attention.padded:prepare",
    "varlen": "cluster.engine.attention.varlen:prepare",
}


def load_backend(name: str, device: torch.device) -> Backend:
    """The backend called `name`; `auto` is `varlen` on CUDA and `cpu` elsewhere.

    Raises ConfigError for an unknown name.
    """
    if name == "auto":
        name = "varlen" if device.type == "cuda" else "cpu"
    if name not in _BACKENDS:
        raise ConfigError(f"attention {name!r} is unknown; use one of auto, {', '.join(_BACKENDS)}")
    module, _, attribute = _BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)
    return backend


def training_backend(device: torch.device) -> Backend:
    """A backend through which gradients flow."""
    return load_backend("varlen" if device.type == "cuda" else "padded", device)


def _segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    segments: Attend,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls: query [1, H, T, D] -> out [1, T, H, D]."""
    if attention_mask is not None or dropout or kwargs.get("softcap") or _windowed(kwargs, query):
        raise ConfigError(
            f"{type(module).__name__} wants a mask, dropout, soft-cap or sliding window, which "
            "packed attention does not have; use numerics: reference"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return segments(query[0], key[0], value[0], scale).unsqueeze(0), None


def _windowed(kwargs: dict[str, Any], query: Tensor) -> bool:
    window = kwargs.get("sliding_window")
    return window is not None and window < query.shape[2]


AttentionInterface.register(IMPLEMENTATION, _segment_attention)
