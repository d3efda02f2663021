"""CPU inference: each segment's own part causal, each shared part once for all who share it.

The tokens that see a segment from below are one contiguous run, so a prompt's keys and values meet
all its responses' queries in a single non-causal call. The parts of a token's context are merged
by their log-sum-exp (as in FlashDecoding and cascade inference: flashinfer.ai, "Cascade
Inference", 2024). Gradients do not flow through the log-sum-exp: train with `gathered`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from cluster.engine.attention import Attend
from cluster.engine.packing import Batch

ROWS = 32
"""Queries of a shared part are rounded up to this many rows: the kernel's block, in which a row's
bits do not depend on how many rows stand beside it."""


def prepare(batch: Batch, device: torch.device) -> Attend:
    """An Attend for one batch; `device` is the CPU."""
    own = [(s.start, s.end) for s in batch.segments]
    shared = [(s.start, s.end, s.subtree_end) for s in batch.segments if s.subtree_end > s.end]

    def attend(query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, scale: float) -> Tensor:
        n_kv, n_tokens, head_dim = key_KTD.shape
        # Heads that share keys become heads of one kv "batch" entry: no copy of keys or values.
        query = query_HTD.view(n_kv, -1, n_tokens, head_dim)
        key = key_KTD.unsqueeze(1).expand(-1, query.shape[1], -1, -1)
        value = value_KTD.unsqueeze(1).expand(-1, query.shape[1], -1, -1)
        out = query.new_empty(n_tokens, n_kv, query.shape[1], head_dim).permute(1, 2, 0, 3)
        lse = query.new_empty(query.shape[:3], dtype=torch.float32)
        for start, end in own:
            out[:, :, start:end], lse[:, :, start:end] = _attention(
                query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], True, scale
            )
        for start, end, below in shared:
            part, part_lse = _attention(
                _rows(query, end, below), key[:, :, start:end], value[:, :, start:end], False, scale
            )
            n = below - end
            _merge(out[:, :, end:below], lse[:, :, end:below], part[:, :, :n], part_lse[:, :, :n])
        return out.permute(2, 0, 1, 3).flatten(1, 2)

    return attend


def _attention(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """torch's own CPU flash attention, which also answers the log-sum-exp."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = flash(query, key, value, 0.0, causal, scale=scale)
    return out, lse


def _rows(query: Tensor, start: int, end: int) -> Tensor:
    """Rows [start, end), and as many after them as fill the last block."""
    stop = end + (start - end) % ROWS
    rows = query[:, :, start:stop]
    return pad(rows, (0, 0, 0, stop - start - rows.shape[2])) if stop > query.shape[2] else rows


def _merge(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Fold a further part of the context into `out` and `lse`, in place."""
    weight = torch.sigmoid(part_lse - lse).unsqueeze(-1)
    out.copy_(torch.lerp(out.float(), part.float(), weight))
    lse.copy_(torch.logaddexp(lse, part_lse))
