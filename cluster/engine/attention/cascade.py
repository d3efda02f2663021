"""Cascade attention on CPUs: a segment's own part causal, each ancestor's part merged by LSE.

The tokens that see a segment from below are one contiguous run, so a prompt's keys and values meet
all its responses' queries in a single call. The kernel's last bits depend on where in such a call a
query lies; with `batch_invariant` each segment therefore gets a call of its own, and a token's bits
depend on its own context alone. The parts of a context are merged by their log-sum-exp (as in
cascade inference: flashinfer.ai, 2024-02-02). Gradients do not flow through it: train with `eager`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cluster.engine.attention import (
    AttentionFn,
    LayerAttention,
    ancestry,
)
from cluster.engine.attention.masked import masking
from cluster.engine.packing import Batch

Run = tuple[int, int]


def prepare(batch: Batch, device: torch.device, batch_invariant: bool) -> AttentionFn:
    """An AttentionFn for one batch; `device` is the CPU."""
    own = [(s.start, s.end) for s in batch.computed]
    cached = batch.n_cached
    shared = list(_per_segment(batch) if batch_invariant else _per_ancestor(batch))

    def attend(
        query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
    ) -> Tensor:
        n_kv, _, head_dim = key_KTD.shape
        n_tokens = query_HTD.shape[1]
        # Heads that share keys become heads of one kv "batch" entry: no copy of keys or values.
        query = query_HTD.view(n_kv, -1, n_tokens, head_dim)
        key = key_KTD.unsqueeze(1).expand(-1, query.shape[1], -1, -1)
        value = value_KTD.unsqueeze(1).expand(-1, query.shape[1], -1, -1)
        out = query.new_empty(n_tokens, n_kv, query.shape[1], head_dim).permute(1, 2, 0, 3)
        lse = query.new_empty(query.shape[:3], dtype=torch.float32)
        for start, end in own:
            rows = slice(start - cached, end - cached)
            out[:, :, rows], lse[:, :, rows] = _attention(
                query[:, :, rows],
                key[:, :, start:end],
                value[:, :, start:end],
                True,
                layer.scale,
            )
        for (start, end), (first, last) in shared:
            rows = slice(first - cached, last - cached)
            part = _attention(
                query[:, :, rows],
                key[:, :, start:end],
                value[:, :, start:end],
                False,
                layer.scale,
            )
            _merge(out[:, :, rows], lse[:, :, rows], *part)
        return out.permute(2, 0, 1, 3).flatten(1, 2)

    return masking(batch, attend)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """torch's own CPU flash attention, which also returns the log-sum-exp."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = flash(query, key, value, 0.0, causal, scale=scale)
    return out, lse


def _per_ancestor(batch: Batch) -> Iterator[tuple[Run, Run]]:
    """(keys, queries): each segment once, with all its descendants."""
    for index, s in enumerate(batch.segments):
        if s.subtree_end > s.end:
            first = s.end
            if index < len(batch.cached):  # its descendants follow, but not directly
                first = next(below.start for below in batch.computed if below.parent == index)
            yield (s.start, s.end), (first, s.subtree_end)


def _per_segment(batch: Batch) -> Iterator[tuple[Run, Run]]:
    """(keys, queries): each segment with each of its ancestors."""
    for s in batch.computed:
        for keys in ancestry(batch.segments, s)[:-1]:
            yield keys, (s.start, s.end)


def _merge(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Fold a further part of the context into `out` and `lse`, in place."""
    weight = torch.sigmoid(part_lse - lse).unsqueeze(-1)
    out.copy_(torch.lerp(out.float(), part.float(), weight))
    lse.copy_(torch.logaddexp(lse, part_lse))
