"""Bootstrap intervals of scores and of their differences, paired by item.

Items are drawn again with replacement within each stratum of the suite, so every resample has the
published mixture; models are compared on the same draws. Percentile intervals (Efron 1979; paired
as by Koehn 2004 for translation scores).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.evaluation.types import Stratum

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK = 4_000_000
"""Counts held at a time."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a LEVEL interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model a against model b, on the n units that both have.

    difference: score of a minus score of b. p_better: share of resamples in which a is better; ties
    count half.
    """

    a: str
    b: str
    n: int
    difference: float
    interval: Interval
    p_better: float


def interval(strata: Sequence[Stratum], seed: int, resamples: int = RESAMPLES) -> Interval | None:
    """Interval of one model's score; None if nothing is counted."""
    drawn = _resampled([strata], seed, resamples)
    return None if drawn is None else _ends(drawn[0])


def compare(
    a: tuple[str, Sequence[Stratum]],
    b: tuple[str, Sequence[Stratum]],
    seed: int,
    resamples: int = RESAMPLES,
) -> Comparison | None:
    """Two models on the units that both have; None if there is none."""
    shared_a, shared_b = common(a[1], b[1])
    drawn = _resampled([shared_a, shared_b], seed, resamples)
    if drawn is None:
        return None
    difference = drawn[0] - drawn[1]
    better = (difference > 0).mean() + (difference == 0).mean() / 2
    return Comparison(
        a[0],
        b[0],
        sum(len(one.units) for one in shared_a),
        score(shared_a) - score(shared_b),
        _ends(difference),
        float(better),
    )


def score(strata: Sequence[Stratum]) -> float:
    """The weighted mean of the strata's means."""
    total = sum(one.weight for one in strata)
    return sum(one.weight * sum(one.units.values()) / len(one.units) for one in strata) / total


def common(a: Sequence[Stratum], b: Sequence[Stratum]) -> tuple[list[Stratum], list[Stratum]]:
    """Both, reduced to the units that both have, without empty strata."""
    others = {one.name: one for one in b}
    kept: tuple[list[Stratum], list[Stratum]] = ([], [])
    for one in a:
        other = others.get(one.name)
        keys = [key for key in one.units if other and key in other.units]
        if other and keys:
            for side, mine in zip(kept, (one, other), strict=True):
                units = {key: mine.units[key] for key in keys}
                side.append(Stratum(mine.name, mine.weight, units))
    return kept


def _resampled(models: Sequence[Sequence[Stratum]], seed: int, resamples: int) -> Array | None:
    """[models, resamples]: the score in each resample; the strata of all models are alike."""
    if not models[0]:
        return None
    rng = np.random.default_rng(seed)
    drawn = np.zeros((len(models), resamples))
    for parts in zip(*models, strict=True):
        values = np.array([list(one.units.values()) for one in parts]).T
        weight = parts[0].weight / sum(one.weight for one in models[0])
        drawn += weight * _means(values, rng, resamples)
    return drawn


def _means(values: Array, rng: np.random.Generator, resamples: int) -> Array:
    """[models, resamples] from [units, models]: means of units drawn with replacement."""
    n = len(values)
    step = max(1, _CHUNK // n)
    chances = np.full(n, 1 / n)
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([rng.multinomial(n, chances, size) @ values / n for size in sizes]).T


def _ends(drawn: Array) -> Interval:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(float(low), float(high))
