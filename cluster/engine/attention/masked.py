"""Masked attention: windows, soft-caps, sinks and ALiBi; any device, with gradients.

Used by the other backends where a layer needs more than their kernel supports. A segment's queries
are taken in blocks at fixed offsets from its start, each with the keys that its window reaches:
memory does not grow with the square of a chat, and a token's bits depend on its own context alone.
Scores are float32 from the soft-cap to the softmax.

Shape legend: K key/value heads of G query heads each, Q queries of a block, C keys of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cluster.engine.attention import AttentionFn, LayerAttention, ancestry, longest_context
from cluster.engine.packing import Batch, Segment

QUERY_BLOCK = 256


@dataclass(frozen=True, slots=True)
class _Block:
    """Queries at positions [first, last) of a chat, keys at positions [low, last)."""

    first: int
    last: int
    low: int

    def distance_QC(self, device: torch.device) -> Tensor:
        """Tokens from each query back to each key; negative where the key lies ahead."""
        queries_Q = torch.arange(self.first, self.last, device=device)
        return queries_Q[:, None] - torch.arange(self.low, self.last, device=device)


def masking(batch: Batch, attend: AttentionFn) -> AttentionFn:
    """`attend` for segments whose own context is plainly causal, explicit scores for the others.

    A window is compared with each segment's own context, never with its batch mates'.
    """
    longest = longest_context(batch)

    def masked(
        query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
    ) -> Tensor:
        states = query_HTD, key_KTD, value_KTD
        if layer.is_plain(longest):
            return attend(*states, layer)
        segments = batch.computed
        special = [s for s in segments if not layer.is_plain(s.depth + s.end - s.start)]
        if len(special) == len(segments):
            return masked_attention(batch, *states, layer)
        out_THD = attend(*states, layer)
        for s in special:
            rows = slice(s.start - batch.n_cached, s.end - batch.n_cached)
            out_THD[rows] = masked_segment(batch, s, *states, layer)
        return out_THD

    return masked


def masked_attention(
    batch: Batch, query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
) -> Tensor:
    """out_THD of all segments of `batch`."""
    states = query_HTD, key_KTD, value_KTD
    return torch.cat([masked_segment(batch, s, *states, layer) for s in batch.computed])


def masked_segment(
    batch: Batch,
    segment: Segment,
    query_HTD: Tensor,
    key_KTD: Tensor,
    value_KTD: Tensor,
    layer: LayerAttention,
) -> Tensor:
    """out_QHD of one segment."""
    runs = ancestry(batch.segments, segment)
    key_KCD, value_KCD = (
        torch.cat([states[:, a:b] for a, b in runs], 1) for states in (key_KTD, value_KTD)
    )
    outs = []
    for start in range(segment.start, segment.end, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, segment.end)
        block = _block(segment.depth + start - segment.start, end - start, layer.window)
        rows = slice(start - batch.n_cached, end - batch.n_cached)
        keys = slice(block.low, block.last)
        outs.append(_attend(query_HTD[:, rows], key_KCD[:, keys], value_KCD[:, keys], block, layer))
    return torch.cat(outs)


def _block(first: int, n_queries: int, window: int | None) -> _Block:
    low = 0 if window is None else max(0, first - window + 1)
    return _Block(first, first + n_queries, low)


def _attend(
    query_HQD: Tensor, key_KCD: Tensor, value_KCD: Tensor, block: _Block, layer: LayerAttention
) -> Tensor:
    """out_QHD of one block."""
    n_heads, n_queries, size = query_HQD.shape
    n_kv, n_keys, _ = key_KCD.shape
    # The heads of a key side by side make one matmul. Contiguous, since its bits depend on strides
    # too.
    folded_KQD = query_HQD.contiguous().view(n_kv, -1, size)
    key_KCD, value_KCD = key_KCD.contiguous(), value_KCD.contiguous()
    scores_KQC = torch.bmm(folded_KQD, key_KCD.transpose(1, 2)).float() * layer.scale
    scores_HQC = scores_KQC.view(n_heads, n_queries, n_keys)
    if layer.softcap is not None:
        scores_HQC = layer.softcap * torch.tanh(scores_HQC / layer.softcap)
    distance_QC = block.distance_QC(query_HQD.device)
    if layer.alibi_slopes_H is not None:
        scores_HQC = scores_HQC - layer.alibi_slopes_H.float().view(-1, 1, 1) * distance_QC
    hidden_QC = distance_QC < 0
    if layer.window is not None:
        hidden_QC |= distance_QC >= layer.window
    scores_HQC = scores_HQC.masked_fill(hidden_QC, -torch.inf)
    weights_HQC = _softmax(scores_HQC, layer.sinks_H).to(value_KCD.dtype)
    out_KQD = torch.bmm(weights_HQC.view(n_kv, -1, n_keys), value_KCD)
    return out_KQD.view(n_heads, n_queries, -1).transpose(0, 1)


def _softmax(scores_HQC: Tensor, sinks_H: Tensor | None) -> Tensor:
    if sinks_H is None:
        return scores_HQC.softmax(-1)
    sinks_HQ1 = sinks_H.float().view(-1, 1, 1).expand(-1, scores_HQC.shape[1], 1)
    return torch.cat([scores_HQC, sinks_HQ1], -1).softmax(-1)[..., :-1]
