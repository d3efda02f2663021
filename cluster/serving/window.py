"""Sliding window of numbers, and their distribution.

Shape legend: N numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Shape:
    """Distribution of the numbers in a window. quantiles: value by share below it."""

    n: int
    mean: float
    std: float
    quantiles: dict[float, float]


class Window:
    """The last `size` numbers."""

    def __init__(self, size: int) -> None:
        self._ring: npt.NDArray[np.float64] = np.zeros(size)
        self._seen = 0

    def add(self, numbers_N: Sequence[float]) -> None:
        """Newer numbers push out the oldest."""
        size = len(self._ring)
        last = np.asarray(numbers_N[-size:])
        start = self._seen + len(numbers_N) - len(last)
        self._ring[(start + np.arange(len(last))) % size] = last
        self._seen += len(numbers_N)

    def shape(self) -> Shape:
        """Raises ValueError while the window is empty."""
        held = self._ring[: min(self._seen, len(self._ring))]
        if not len(held):
            raise ValueError("nothing was added yet")
        values = np.quantile(held, QUANTILES).tolist()
        quantiles = dict(zip(QUANTILES, values, strict=True))
        return Shape(len(held), float(held.mean()), float(held.std()), quantiles)
