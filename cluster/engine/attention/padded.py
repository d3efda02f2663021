"""Padded attention with gradients: segments of similar size padded into one call.

One call per segment costs more than its arithmetic if segments have about ten tokens, and the
gradient of a slice is a tensor as long as the batch. Here each token's queries, keys and values are
gathered into a few rectangles, whose sides are powers of two, so that at most half of a side is
padding. Numbers agree with `eager` to rounding.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from cluster.engine.attention import (
    AttentionFn,
    LayerAttention,
    ancestry,
    longest_context,
)
from cluster.engine.attention.masked import masked_attention
from cluster.engine.packing import Batch, Segment


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """S segments of at most Q tokens in contexts of at most C tokens.

    queries_SQ, context_SC: token indices, padded with 0.  mask_SQC: who sees whom.
    real_SQ: which queries are tokens and not padding.
    """

    queries_SQ: Tensor
    context_SC: Tensor
    mask_SQC: Tensor
    real_SQ: Tensor


def prepare(batch: Batch, device: torch.device, batch_invariant: bool = True) -> AttentionFn:
    """An AttentionFn for one batch: one call per rectangle."""
    by_size: dict[tuple[int, int], list[Segment]] = defaultdict(list)
    for segment in batch.segments:
        n_queries = segment.end - segment.start
        by_size[_side(n_queries), _side(segment.depth + n_queries)].append(segment)
    rectangles = [
        _rectangle(batch, segments, *sides, device) for sides, segments in by_size.items()
    ]
    order_T = torch.cat([r.queries_SQ[r.real_SQ] for r in rectangles])
    place_T = torch.empty_like(order_T)
    place_T[order_T] = torch.arange(len(order_T), device=device)

    longest = longest_context(batch)

    def attend(
        query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
    ) -> Tensor:
        if not layer.is_plain(longest):
            return masked_attention(batch, query_HTD, key_KTD, value_KTD, layer)
        outs = []
        for rectangle in rectangles:
            out_SHQD = scaled_dot_product_attention(
                _gather(query_HTD, rectangle.queries_SQ),
                _gather(key_KTD, rectangle.context_SC),
                _gather(value_KTD, rectangle.context_SC),
                attn_mask=rectangle.mask_SQC[:, None],
                scale=layer.scale,
                enable_gqa=len(query_HTD) != len(key_KTD),
            )
            outs.append(out_SHQD.transpose(1, 2)[rectangle.real_SQ])
        return torch.cat(outs).index_select(0, place_T)

    return attend


def _rectangle(
    batch: Batch, segments: list[Segment], n_queries: int, n_context: int, device: torch.device
) -> _Rectangle:
    queries_SQ = torch.zeros(len(segments), n_queries, dtype=torch.long)
    context_SC = torch.zeros(len(segments), n_context, dtype=torch.long)
    mask_SQC = torch.zeros(len(segments), n_queries, n_context, dtype=torch.bool)
    real_SQ = torch.zeros(len(segments), n_queries, dtype=torch.bool)
    for row, segment in enumerate(segments):
        own = segment.end - segment.start
        context = torch.cat([torch.arange(a, b) for a, b in ancestry(batch.segments, segment)])
        queries_SQ[row, :own] = torch.arange(segment.start, segment.end)
        context_SC[row, : len(context)] = context
        mask_SQC[row, :own, : len(context)] = torch.ones(own, len(context)).tril(segment.depth) > 0
        mask_SQC[row, own:, 0] = True  # padding must see something: an empty softmax is NaN
        real_SQ[row, :own] = True
    return _Rectangle(*(t.to(device) for t in (queries_SQ, context_SC, mask_SQC, real_SQ)))


def _gather(states_HTD: Tensor, index_SQ: Tensor) -> Tensor:
    """states_SHQD."""
    n_heads, _, size = states_HTD.shape
    picked = states_HTD.index_select(1, index_SQ.flatten())
    return picked.view(n_heads, *index_SQ.shape, size).transpose(0, 1)


def _side(length: int) -> int:
    return 1 << (length - 1).bit_length()
