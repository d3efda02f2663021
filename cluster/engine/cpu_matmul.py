"""CPU matmul: prepacked weights, and the row counts at which a row keeps its bits.

oneDNN chooses how it walks through a matmul by its row count, and with it the order of the sums: on
a CPU with AMX a row has one of two sets of bits. Weights that lie transposed in memory (the same
values behind other strides) are read without a reordering, and nearly all row counts then agree;
which ones do is measured on the model's own weights at load. Knows nothing of batches.

Shape legend: R rows.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

ANCHOR_ROWS = 2048
"""The row count that others must agree with. Fixed, so that bits do not follow a token budget."""

STEP, FINE_STEP = 128, 64
"""Between row counts up to the anchor; the smallest row count."""

_PERIOD = 61
"""Probes repeat this many distinct rows: a prime, so that each of them visits every place of a
kernel's block."""

LARGE_PROBE_FLOPS = 1e12
"""Row counts beyond the anchor serve single long chats: they are tried for as much work as this.
The work is counted, not timed: a chat beyond what was tried has the bits of another row count, and
these must not depend on how busy the machine was at load."""


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it.

    oneDNN takes bfloat16 on any x86 with AVX-512 and widens it on the way where there are none.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def lay_out(module: nn.Module) -> None:
    """Transpose the memory of every Linear's weight in place; shapes and values stay.

    Needs the memory of the largest weight once more while it runs.
    """
    for layer in linears(module):
        layer.weight.data = layer.weight.data.t().contiguous().t()


def linears(module: nn.Module) -> list[nn.Linear]:
    """Every Linear below `module`."""
    return [m for m in module.modules() if isinstance(m, nn.Linear)]


def candidates(largest: int, step: int = STEP) -> list[int]:
    """Candidate row counts, ascending, in steps of at most an eighth beyond 1,024 rows.

    step: of those up to the anchor.
    """
    sizes = [FINE_STEP, *range(STEP, ANCHOR_ROWS + 1, step)]
    while sizes[-1] < largest:
        step = 1 << (sizes[-1].bit_length() - 4)
        sizes.append(sizes[-1] + step)
    return sizes


@torch.inference_mode()
def agreeing_rows(layers: Sequence[nn.Linear], largest: int, step: int = STEP) -> tuple[int, ...]:
    """Row counts up to about `largest`, and at least to ANCHOR_ROWS, with the anchor's bits.

    Each distinct shape of `layers` is tried with every row at every place. Empty if the anchor does
    not agree with itself.
    """
    kinds = {(tuple(m.weight.shape), m.bias is None): m for m in layers}.values()
    sizes = _affordable(candidates(largest, step), sum(layer.weight.numel() for layer in kinds))
    n_most = sizes[-1]
    generator = torch.Generator().manual_seed(0)
    for layer in kinds:
        few = torch.randn(_PERIOD, layer.in_features, generator=generator).to(layer.weight.dtype)
        rows = _repeat(few, n_most)
        expected = _repeat(_apply(layer, rows, ANCHOR_ROWS)[:_PERIOD], n_most)
        sizes = [n for n in sizes if torch.equal(_apply(layer, rows, n), expected[:n])]
        if ANCHOR_ROWS not in sizes:
            return ()
    return tuple(sizes)


def _affordable(sizes: Sequence[int], n_weights: int) -> list[int]:
    """Those of `sizes`, ascending, whose trials beyond the anchor stay within the limit."""
    work = accumulate(2.0 * n * n_weights if n > ANCHOR_ROWS else 0.0 for n in sizes)
    return [n for n, spent in zip(sizes, work, strict=True) if spent <= LARGE_PROBE_FLOPS]


def _apply(layer: nn.Linear, rows: Tensor, n_rows: int) -> Tensor:
    return linear(rows[:n_rows], layer.weight, layer.bias)


def _repeat(rows: Tensor, n_rows: int) -> Tensor:
    return rows.repeat(-(-n_rows // len(rows)), 1)[:n_rows]
