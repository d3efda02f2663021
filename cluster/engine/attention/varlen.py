"""CUDA: one `varlen_attn` call (in torch itself) serves all segments of a layer.

Queries lie by segment; keys and values are gathered along each segment's ancestors, causal and
aligned bottom-right. One split of the keys, where torch offers the choice: a row's bits then do
not depend on its batch mates.
"""

from __future__ import annotations

import inspect
from functools import cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from cluster.engine.attention import (
    AttentionFn,
    LayerAttention,
    ancestry,
    longest_context,
)
from cluster.engine.attention.masked import masked_attention
from cluster.engine.packing import Batch


def prepare(batch: Batch, device: torch.device, isolate: bool) -> AttentionFn:
    """An AttentionFn for one batch on a CUDA device."""
    from torch.nn.attention.varlen import AuxRequest, varlen_attn

    query_lens = [s.end - s.start for s in batch.computed]
    context_lens = [s.depth + s.end - s.start for s in batch.computed]
    bounds_q, bounds_k = _bounds(query_lens, device), _bounds(context_lens, device)
    context = None if query_lens == context_lens else _context_index(batch, device)
    options = _options()

    longest_query, longest = max(query_lens), longest_context(batch)

    def attend(
        query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
    ) -> Tensor:
        if not _in_kernel(layer):
            return masked_attention(batch, query_HTD, key_KTD, value_KTD, layer)
        # Under autocast rotary embeddings leave queries and keys in float32 beside bf16 values.
        query, key, value = (
            x.transpose(0, 1).to(value_KTD.dtype) for x in (query_HTD, key_KTD, value_KTD)
        )
        if context is not None:
            key, value = key.index_select(0, context), value.index_select(0, context)
        if "enable_gqa" not in options and query.shape[1] != key.shape[1]:
            groups = query.shape[1] // key.shape[1]
            key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
        found = varlen_attn(
            query.contiguous(),
            key.contiguous(),
            value.contiguous(),
            bounds_q,
            bounds_k,
            longest_query,
            longest,
            scale=layer.scale,
            window_size=(-1 if layer.window is None else layer.window - 1, 0),
            return_aux=None if layer.sinks_H is None else AuxRequest(lse=True),
            **options,
        )
        if isinstance(found, Tensor):
            return found
        assert layer.sinks_H is not None
        return _with_sinks(*found, layer.sinks_H)

    return attend


def _in_kernel(layer: LayerAttention) -> bool:
    """Soft-caps and ALiBi are not in the kernel; nor has its log-sum-exp, which sinks need, a
    gradient."""
    sinks = layer.sinks_H is not None and torch.is_grad_enabled()
    return layer.softcap is None and layer.alibi_slopes_H is None and not sinks


def _with_sinks(out_THD: Tensor, lse: Tensor, sinks_H: Tensor) -> Tensor:
    """`out` with one further score per head in its softmax's denominator.

    lse: [H, T] by torch's shape function, [T, H] by its documentation; both are read.
    """
    n_tokens, n_heads, _ = out_THD.shape
    lse_TH = lse.T if lse.shape == (n_heads, n_tokens) else lse
    kept_TH = torch.sigmoid(lse_TH - sinks_H.float())
    return (out_THD.float() * kept_TH.unsqueeze(-1)).to(out_THD.dtype)


def _bounds(lengths: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


def _context_index(batch: Batch, device: torch.device) -> Tensor:
    """For every segment its ancestors' tokens and its own, end to end."""
    runs = [run for s in batch.computed for run in ancestry(batch.segments, s)]
    return torch.cat([torch.arange(a, b) for a, b in runs]).to(device)


@cache
def _options() -> dict[str, Any]:
    """Keyword arguments that only later torch releases know (enable_gqa, num_splits)."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    wanted = {"enable_gqa": True, "num_splits": 1}
    return {name: value for name, value in wanted.items() if name in known}
