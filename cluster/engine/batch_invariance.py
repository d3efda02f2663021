"""Batch invariance: matmul row counts at which a row's bits do not depend on the batch.

A row of a matmul does not depend on the other rows as long as the kernel is the same, and the
kernel is chosen by the number of rows. So a batch is padded with dummy tokens to one of a few row
counts, and `batch_invariant_sizes` measures, on the model's own weight shapes, which counts give
the same bits.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from cluster.engine.cpu_matmul import agreeing_rows, candidates, linears
from cluster.engine.cpu_rows import invariant_rows
from cluster.engine.experts import expert_widths, fix_expert_rows, has_experts
from cluster.engine.packing import Batch, Segment

STEP = 256
"""On a GPU, row counts are multiples of this."""
TAIL = 128
"""Maximum dummy tokens per segment: one long tail would cost as much attention as a long chat."""


def pad_rows(batch: Batch, sizes: tuple[int, ...]) -> Batch:
    """`batch` with dummy tokens at its end, so that its row count is the next of `sizes`.

    They stand at position 0, which every model has, in short segments, whose attention costs next
    to nothing. Beyond the largest size: a multiple of it, or of the step where every step agrees.
    No sizes: unchanged.
    """
    if not sizes:
        return batch
    n = batch.n_unique_tokens
    at = bisect.bisect_left(sizes, n)
    step = sizes[0] if len(sizes) * sizes[0] == sizes[-1] else sizes[-1]
    size = sizes[at] if at < len(sizes) else -(-n // step) * step
    if size == n:
        return batch
    tail = np.zeros(size - n, np.int32)
    bounds = [*range(n, size, TAIL), size]
    dummies = (
        Segment(batch.n_cached + start, batch.n_cached + end, 0, -1, batch.n_cached + end)
        for start, end in pairwise(bounds)
    )
    return replace(
        batch,
        input_ids_T=np.concatenate([batch.input_ids_T, tail]),
        position_ids_T=np.concatenate([batch.position_ids_T, tail]),
        segments=(*batch.segments, *dummies),
    )


def batch_invariant_sizes(
    module: Any, token_budget: int, matmuls: Sequence[nn.Linear] | None = None
) -> tuple[int, ...]:
    """Row counts up to about `token_budget` whose matmuls give a row the same bits anywhere.

    Each distinct weight shape of `module` is tried on random rows, every candidate on its own.
    Empty if not even the largest agrees with itself, and for experts whose row counts cannot be
    fixed: then one chat per forward keeps the promise.
    matmuls: those that run on a CPU; None is all of `module`.
    """
    on_cpu = module.score.weight.device.type == "cpu"
    if has_experts(module) and not (on_cpu and fix_expert_rows(module, token_budget)):
        return ()
    if on_cpu:
        if matmuls is not None:  # native layers split their work by rows
            return agreeing_rows(matmuls, token_budget)
        return invariant_rows(linears(module.base_model), token_budget, _widths(module))
    sizes = candidate_sizes("cuda", token_budget)
    found = sizes_that_agree(module, sizes)
    return found if sizes[-1] in found else ()


def _widths(module: Any) -> set[int]:
    """Columns of the arrays that a forward of `module` makes."""
    layers = linears(module.base_model)
    found = {n for layer in layers for n in (layer.in_features, layer.out_features)}
    head_dim = getattr(module.config.get_text_config(), "head_dim", None)
    return found | expert_widths(module) | ({head_dim} if isinstance(head_dim, int) else set())


def candidate_sizes(device_type: str, token_budget: int) -> tuple[int, ...]:
    """Row counts to try on a device: those that `batch_invariant_sizes` keeps if all agree."""
    if device_type == "cpu":
        return tuple(candidates(token_budget))
    return tuple(range(STEP, -(-token_budget // STEP) * STEP + 1, STEP))


@torch.inference_mode()
def sizes_that_agree(module: Any, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Those of `sizes` at which rows, taken at several places, have their bits of the largest."""
    largest = sizes[-1]
    weights = {tuple(w.shape): w for w in (layer.weight for layer in linears(module.base_model))}
    generator = torch.Generator(module.score.weight.device).manual_seed(0)
    for (_, width), weight in weights.items():
        rows = torch.randn(2 * largest, width, generator=generator, device=weight.device)
        rows = rows.to(weight.dtype)
        expected = linear(rows[:largest], weight)
        sizes = tuple(size for size in sizes if _agrees(weight, rows, expected, size))
    return sizes


def _agrees(weight: Tensor, rows: Tensor, expected: Tensor, size: int) -> bool:
    for shift in (0, 1, 2, 3, 5, 7, 13):
        found = linear(rows[shift : shift + size], weight)[: len(expected) - shift]
        if not torch.equal(found, expected[shift : shift + size]):
            return False
    return True
