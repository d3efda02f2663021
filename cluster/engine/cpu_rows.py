"""CPU row counts for batch invariance: those at which a row keeps its bits in every kernel.

Matmuls are tried (`cpu_matmul.agreeing_rows`); elementwise kernels are known by how ATen deals out
their work to threads.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn

from cluster.engine.cpu_matmul import FINE_STEP, STEP, agreeing_rows

LANES = 32
"""Elements of the widest vector: bfloat16 in AVX-512. A multiple of it is one of all others."""
GRAIN = 32768
"""at::internal::GRAIN_SIZE."""


def invariant_rows(
    layers: Sequence[nn.Linear], largest: int, widths: Collection[int]
) -> tuple[int, ...]:
    """Row counts up to about `largest` that keep a row's bits with the threads in use.

    widths: columns of the arrays between the `layers`. Where the threads are no power of two few
    row counts deal out whole vectors, so more are tried.
    """
    threads = torch.get_num_threads()
    step = FINE_STEP if threads & (threads - 1) else STEP
    return whole_vectors(agreeing_rows(layers, largest, step), widths, threads)


def whole_vectors(sizes: tuple[int, ...], widths: Collection[int], threads: int) -> tuple[int, ...]:
    """Those of `sizes` at which no thread's part of an elementwise kernel ends within a vector.

    What is left of a vector goes through scalar code, whose exp has other bits than the vector's.
    ATen gives each thread an equal part of all elements, and one at least GRAIN of them.
    """
    return tuple(size for size in sizes if all(_whole(size, w, threads) for w in widths))


def _whole(n_rows: int, width: int, threads: int) -> bool:
    n = n_rows * width
    parts = min(threads, -(-n // GRAIN))
    part = -(-n // parts)
    return part % LANES == 0 and (parts == 1 or width % LANES == 0 or part % width == 0)
