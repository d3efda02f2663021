"""Eager attention, the reference: gathers each segment's context and masks; any device, gradients.

Slower than the others, and what they are tested against.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from cluster.engine.attention import (
    AttentionFn,
    LayerAttention,
    ancestry,
)
from cluster.engine.attention.masked import masking
from cluster.engine.packing import Batch, Segment


def prepare(batch: Batch, device: torch.device, batch_invariant: bool = True) -> AttentionFn:
    """An AttentionFn for one batch: one call per segment, its context from its ancestors and
    itself."""
    work = []
    for segment in batch.computed:
        runs = ancestry(batch.segments, segment)
        rows = slice(segment.start - batch.n_cached, segment.end - batch.n_cached)
        work.append((rows, runs, _mask(segment, device)))

    def attend(
        query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
    ) -> Tensor:
        outs = []
        for rows, runs, mask in work:
            out = scaled_dot_product_attention(
                query_HTD[None, :, rows],
                torch.cat([key_KTD[:, a:b] for a, b in runs], 1)[None],
                torch.cat([value_KTD[:, a:b] for a, b in runs], 1)[None],
                attn_mask=mask,
                is_causal=mask is None,
                scale=layer.scale,
                enable_gqa=len(query_HTD) != len(key_KTD),
            )
            outs.append(out[0].transpose(0, 1))
        return torch.cat(outs)

    return masking(batch, attend)


def _mask(segment: Segment, device: torch.device) -> Tensor | None:
    """Causal, aligned bottom-right: a query sees all ancestors; None if there are none."""
    if segment.parent < 0:
        return None
    rows = segment.end - segment.start
    full = torch.ones(rows, segment.depth + rows, dtype=torch.bool, device=device)
    return full.tril(segment.depth)
