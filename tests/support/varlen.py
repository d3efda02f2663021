"""torch's varlen attention by its documentation, on the CPU: what CUDA code is tested against.

Causal and windowed masks are aligned bottom-right; (W, 0) lets a query see the W keys before its
own. What the CUDA operator refuses is refused: other dtypes than fp16 and bf16, mixed ones, one
head size for queries and another for values. Gradients flow, though not through the log-sum-exp.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cluster.config import EngineConfig
from cluster.engine.batch_invariance import candidate_sizes
from cluster.engine.engine import Engine
from cluster.types import Numerics

MAX_ROWS = 2048
"""Of a forward on a CPU."""
HALF = (torch.float16, torch.bfloat16)


def engine_as_on_gpu(checkpoint: Path, numerics: Numerics, **settings: Any) -> Engine:
    """Varlen attention, to be installed before, the model's own layers and a GPU's row counts."""
    config = EngineConfig(
        model=str(checkpoint),
        numerics=numerics,
        attention="varlen",
        compute="model",
        layers="model",
        head_dtype="float32",
        **settings,
    )
    engine = Engine.load(config)
    engine.model.row_sizes = candidate_sizes("cuda", MAX_ROWS) if numerics == "invariant" else ()
    return engine


def install(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Replace `varlen_attn`; the list grows by (queries, keys) with each call."""
    calls: list[tuple[int, int]] = []

    def emulated(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seq_q: Tensor,
        cu_seq_k: Tensor,
        max_q: int,
        max_k: int,
        *,
        return_aux: Any = None,
        scale: float | None = None,
        window_size: tuple[int, int] = (-1, -1),
        enable_gqa: bool = False,
        num_splits: int | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        calls.append((len(query), len(key)))
        _check(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, enable_gqa)
        outs, lses = [], []
        bounds = zip(pairwise(cu_seq_q.tolist()), pairwise(cu_seq_k.tolist()), strict=True)
        for (q0, q1), (k0, k1) in bounds:
            out, lse = _one(query[q0:q1], key[k0:k1], value[k0:k1], scale, window_size)
            outs.append(out)
            lses.append(lse)
        out_THD = torch.cat(outs)
        if return_aux is not None and return_aux.lse:
            return out_THD, torch.cat(lses, 1).detach()
        return out_THD

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", emulated)
    return calls


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    enable_gqa: bool,
) -> None:
    if query.dtype not in HALF:
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    if not query.dtype == key.dtype == value.dtype:
        raise RuntimeError("query, key and value must have the same dtype")
    if not query.shape[2] == key.shape[2] == value.shape[2]:
        raise RuntimeError("query, key and value must have the same head size")
    if not enable_gqa and query.shape[1] != key.shape[1]:
        raise ValueError("try setting enable_gqa=True for GQA")
    for bounds, longest, states in ((cu_seq_q, max_q, query), (cu_seq_k, max_k, key)):
        assert bounds.dtype is torch.int32
        assert bounds.device == query.device
        assert int(bounds[-1]) == len(states)
        assert int(bounds.diff().max()) == longest
        assert states.is_contiguous()


def _one(
    query_QHD: Tensor, key_CKD: Tensor, value_CKD: Tensor, scale: float | None, window: Any
) -> tuple[Tensor, Tensor]:
    """out_QHD and lse_HQ of one sequence, in float32."""
    n_queries, n_heads, size = query_QHD.shape
    n_keys, n_kv, _ = key_CKD.shape
    key, value = (
        x.float().transpose(0, 1).repeat_interleave(n_heads // n_kv, 0)
        for x in (key_CKD, value_CKD)
    )
    scores = query_QHD.float().transpose(0, 1) @ key.mT * (size**-0.5 if scale is None else scale)
    ends = torch.arange(n_queries) + n_keys - n_queries
    distance = ends[:, None] - torch.arange(n_keys)
    left, right = window
    hidden = torch.zeros_like(distance, dtype=torch.bool)
    if left >= 0:
        hidden |= distance > left
    if right >= 0:
        hidden |= -distance > right
    scores = scores.masked_fill(hidden, -torch.inf)
    out = (scores.softmax(-1) @ value).transpose(0, 1).to(query_QHD.dtype)
    return out, scores.logsumexp(-1)
