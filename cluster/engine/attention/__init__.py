"""Attention over the segments of a Batch.

A backend turns a Batch into an `AttentionFn`: a callable that the model's attention layers run on
their queries, keys and values. transformers passes it through the model call as the keyword
argument `segments`, so no global is needed and any decoder that goes through `AttentionInterface`
works. What a layer needs from its attention beyond causality is a `LayerAttention`; a keyword
argument without a field there is refused, never ignored.

Shape legend: T tokens of the batch, H query heads, K key/value heads (H = K·G), D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface

from cluster.engine.packing import Batch, Segment
from cluster.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LayerAttention:
    """What one layer needs from its causal attention.

    scale: factor of the scores q.k.
    window: a token sees itself and the `window - 1` tokens before it; None sees all.
    softcap: scores become softcap * tanh(scores / softcap); None leaves them.
    sinks_H: one further score per head in the softmax's denominator, with no value.
    alibi_slopes_H: a score falls by the head's slope for each token of distance.
    layer: index of the layer.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks_H: Tensor | None = None
    alibi_slopes_H: Tensor | None = None
    layer: int = 0

    def is_plain(self, longest: int) -> bool:
        """Whether contexts of at most `longest` tokens need nothing but `scale`."""
        windowed = self.window is not None and self.window < longest
        extras = (self.softcap, self.sinks_H, self.alibi_slopes_H)
        return not windowed and all(extra is None for extra in extras)


AttentionFn = Callable[[Tensor, Tensor, Tensor, LayerAttention], Tensor]
"""(query_HTD, key_KTD, value_KTD, layer) -> out_THD."""

IMPLEMENTATION = "segments"
"""The name under which transformers knows our attention function."""


class Backend(Protocol):
    """Prepares a batch once; the result serves every layer.

    batch_invariant: a token's bits must not depend on the other sequences of the batch.
    """

    def __call__(
        self, batch: Batch, device: torch.device, batch_invariant: bool
    ) -> AttentionFn: ...


_BACKENDS = {
    "cascade": "cluster.engine.attention.cascade:prepare",
    "eager": "cluster.engine.attention.eager:prepare",
    "padded": "cluster.engine.attention.padded:prepare",
    "tiled": "cluster.engine.attention.tiled:prepare",
    "varlen": "cluster.engine.attention.varlen:prepare",
}


HALF = (torch.float16, torch.bfloat16)


def load_backend(name: str, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Backend:
    """The backend called `name`; `auto` is `tiled` on a CPU and `varlen` on CUDA where it can run.

    dtype: of queries, keys and values. The kernel of `varlen` takes half precision only, on Ampere
    and later; elsewhere `auto` is `eager`. Raises ConfigError for an unknown name.
    """
    if name == "auto":
        name = _kernel_of(device, dtype) or ("eager" if device.type == "cuda" else "tiled")
    if name not in _BACKENDS:
        raise ConfigError(f"attention {name!r} is unknown; use one of auto, {', '.join(_BACKENDS)}")
    module, _, attribute = _BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)
    return backend


def training_backend(name: str, device: torch.device, dtype: torch.dtype) -> Backend:
    """A backend through which gradients flow: `varlen` where it can run or is `name`d."""
    kernel = name if name == "varlen" else _kernel_of(device, dtype)
    return load_backend(kernel or "padded", device)


def _kernel_of(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type != "cuda" or dtype not in HALF:
        return None
    return "varlen" if torch.cuda.get_device_capability(device) >= (8, 0) else None


_KNOWN_TO_MODELS = frozenset({"position_ids", "cache_position", "position_embeddings", "use_cache"})
"""Keyword arguments that models pass on to attention and that change nothing in it."""


def _segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    segments: AttentionFn | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls: query [1, H, T, D] -> out [1, T, H, D].

    Raises ConfigError for arguments that a LayerAttention cannot express.
    """
    name = type(module).__name__
    if segments is None:
        raise ConfigError(f"{name} does not receive the keyword arguments of the model call")
    unknown = [k for k, v in kwargs.items() if not _ignorable(k, v)]
    if attention_mask is not None or dropout or unknown:
        extras = ", ".join(["a mask or dropout", *unknown])
        raise ConfigError(f"{name} wants {extras}, which packed attention does not have")
    if not getattr(module, "is_causal", True) or is_causal is False:
        raise ConfigError(f"{name} looks ahead; packed attention is causal")
    layer = LayerAttention(
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=sliding_window,
        softcap=softcap,
        sinks_H=s_aux,
        layer=getattr(module, "layer_idx", None) or 0,
    )
    size = value.shape[-1]
    # Kernels want one head size; latent attention (DeepSeek) has smaller values than keys.
    if size < key.shape[-1]:  # padding by nothing would copy
        value = torch.nn.functional.pad(value, (0, key.shape[-1] - size))
    out = segments(query[0], key[0], value[0], layer)
    return out[..., :size].unsqueeze(0), None


def _ignorable(key: str, value: Any) -> bool:
    return value is None or key in _KNOWN_TO_MODELS or key.startswith("output_")


def longest_context(batch: Batch) -> int:
    """Tokens of the longest context of a batch: what a window is compared with."""
    return max(s.depth + s.end - s.start for s in batch.segments)


def ancestry(segments: tuple[Segment, ...], segment: Segment) -> list[tuple[int, int]]:
    """Token ranges of the ancestors, root first, then the segment's own."""
    runs = [(segment.start, segment.end)]
    while segment.parent >= 0:
        segment = segments[segment.parent]
        runs.append((segment.start, segment.end))
    return runs[::-1]


AttentionInterface.register(IMPLEMENTATION, _segment_attention)
