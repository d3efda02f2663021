"""CPU inference in bfloat16: one native kernel for all segments of a batch.

Each segment's keys and values are laid out once for all that see them, and a block of queries runs
through its context from the root down, with float32 scores and sums (`tiled.cpp`). A token's bits
depend on its own context alone, whatever else is in the batch, so no segment needs a call of its
own. What the kernel does not take (another dtype, an odd head size) goes to `cascade`, and so does
everything on a machine without AVX512-BF16 or a compiler. AMX computes the products on a CPU that
has it.

Shape legend: T tokens, H query heads, K key/value heads of G query heads each, D head size.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cluster.engine.attention import AttentionFn, LayerAttention, cascade
from cluster.engine.attention.masked import masked_attention, masking
from cluster.engine.batch import Batch, Segment
from cluster.engine.native import load_library
from cluster.engine.packing import pack
from cluster.types import Encoding

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".cpp")
FEATURES = ("avx512f", "avx512bw", "avx512vl", "avx512bf16")
TILES = ("amx-tile", "amx-bf16")
"""If the CPU has these too, they compute the products."""
ROWS, SPAN, MAX_SIZE = 32, 32, 256
"""As in the source."""
BOUND = 2.0**-6
"""Largest allowed difference from explicit scores, for values of about 1; bfloat16 rounds them by
2^-9."""


class _Shape(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("n_kv", "group", "size", "n_cached")),
        *((name, ctypes.c_int32) for name in ("n_spans", "n_work", "threads")),
        ("scale", ctypes.c_float),
    )


class _Strided(ctypes.Structure):
    _fields_ = (
        ("at", ctypes.c_void_p),
        ("head", ctypes.c_int64),
        ("token", ctypes.c_int64),
    )

    @classmethod
    def of(cls, states_HTD: Tensor) -> _Strided:
        return cls(states_HTD.data_ptr(), states_HTD.stride(0), states_HTD.stride(1))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the kernel walks through: int32 rows, its `Segment`, `Span` and `Work`."""

    segments: Any
    ancestors: Any
    spans: Any
    work: Any

    @classmethod
    def of(cls, batch: Batch, group: int) -> _Plan:
        segments, ancestors, spans, work = [], list[int](), [], []
        n_spans = 0
        for index, segment in enumerate(batch.segments):
            length = segment.end - segment.start
            above = _ancestors(batch.segments, segment)
            segments.append((segment.start, segment.end, n_spans, len(ancestors), len(above)))
            ancestors += above
            firsts = np.arange(0, length, SPAN)
            spans.append(np.stack([np.full_like(firsts, index), firsts], 1))
            n_spans += len(firsts)
            if index >= len(batch.cached):
                rows = np.arange(0, length * group, ROWS)
                n_rows = np.minimum(ROWS, length * group - rows)
                work.append(np.stack([np.full_like(rows, index), rows, n_rows], 1))
        return cls(
            np.array(segments, np.int32),
            np.array(ancestors, np.int32),
            np.concatenate(spans, dtype=np.int32),
            np.concatenate(work, dtype=np.int32),
        )


def _ancestors(segments: tuple[Segment, ...], segment: Segment) -> list[int]:
    """Indices, root first."""
    found = []
    while segment.parent >= 0:
        found.append(segment.parent)
        segment = segments[segment.parent]
    return found[::-1]


def prepare(batch: Batch, device: torch.device, batch_invariant: bool) -> AttentionFn:
    """An AttentionFn for one batch; `device` is the CPU."""
    elsewhere = functools.cache(lambda: cascade.prepare(batch, device, batch_invariant))
    plan = functools.cache(lambda group: _Plan.of(batch, group))

    def attend(
        query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
    ) -> Tensor:
        states = query_HTD, key_KTD, value_KTD
        fits = layer.scale > 0 and all(_fits(x) for x in states)
        library = _library() if fits else None
        if library is None:
            return elsewhere()(*states, layer)
        return _run(library, batch, plan(len(query_HTD) // len(key_KTD)), *states, layer.scale)

    return masking(batch, attend)


def _fits(states_HTD: Tensor) -> bool:
    size = states_HTD.shape[-1]
    in_pairs = states_HTD.stride(-1) == 1
    return states_HTD.dtype is torch.bfloat16 and in_pairs and size % 32 == 0 and size <= MAX_SIZE


def _run(
    library: ctypes.CDLL,
    batch: Batch,
    plan: _Plan,
    query_HTD: Tensor,
    key_KTD: Tensor,
    value_KTD: Tensor,
    scale: float,
) -> Tensor:
    """out_THD by the kernel."""
    n_heads, n_tokens, size = query_HTD.shape
    n_kv, n_spans, n_work = len(key_KTD), len(plan.spans), len(plan.work)
    laid_out = query_HTD.new_empty(2, n_kv * n_spans * SPAN * size)
    out_THD = query_HTD.new_empty(n_tokens, n_heads, size)
    counts = n_kv, n_heads // n_kv, size, batch.n_cached, n_spans, n_work
    library.attend(
        ctypes.byref(_Shape(*counts, torch.get_num_threads(), scale)),
        *(ctypes.byref(_Strided.of(x)) for x in (query_HTD, key_KTD, value_KTD)),
        *(_pointer(x.ctypes.data) for x in (plan.segments, plan.ancestors, plan.spans, plan.work)),
        *(_pointer(x.data_ptr()) for x in (*laid_out, out_THD)),
    )
    return out_THD


_pointer = ctypes.c_void_p


def is_available() -> bool:
    """Whether this machine runs the kernel, and not `cascade` in its place."""
    return _library() is not None


def has_tiles() -> bool:
    """Whether its products are those of AMX, whose bits differ from AVX512-BF16's."""
    return torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx()


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The kernel, compiled and tested; None if it cannot be compiled or is wrong."""
    if not torch.cpu._is_avx512_bf16_supported():
        return None
    library = load_library(SOURCE, FEATURES + (TILES if has_tiles() else ()))
    if library is not None and not _is_right(library):
        log.warning("the compiled attention is wrong on this machine: torch's own is used")
        return None
    return library


@torch.inference_mode()
def _is_right(library: ctypes.CDLL) -> bool:
    """Whether it agrees with explicit scores on two responses to a prompt and a chat alone."""
    rng = np.random.default_rng(0)
    prompt, *rest = (rng.integers(0, 99, n, dtype=np.int32) for n in (150, 40, 20, 70))
    shared = [Encoding(np.concatenate([prompt, own]), len(prompt)) for own in rest[:2]]
    batch = pack([*shared, Encoding(rest[2])], "invariant")
    generator = torch.Generator().manual_seed(0)
    shape = batch.n_unique_tokens, 6, 64
    query, key, value = torch.randn(3, *shape, generator=generator).bfloat16().transpose(1, 2)
    key, value, layer = key[:2], value[:2], LayerAttention(0.125)
    found = _run(library, batch, _Plan.of(batch, 3), query, key, value, layer.scale)
    expected = masked_attention(batch, query.float(), key.float(), value.float(), layer)
    return bool(((found.float() - expected).abs() <= BOUND * (1 + expected.abs())).all())
