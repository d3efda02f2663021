"""Learning-rate schedule with which the shipped weights of `tiny` were trained.

It is one step ahead of transformers' during the warm-up: the first step learns too. Kept, so that
the recipe still gives the shipped file.
"""

from __future__ import annotations

import math
from functools import partial

from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.trainer import Schedule


def schedule(config: TrainConfig, total: int) -> Schedule:
    """Linear warm-up from 1 / its steps, then half a cosine down to `min_lr_ratio`."""
    rise = max(1, math.ceil(config.warmup_ratio * total))
    return partial(_share, rise=rise, total=total, least=config.min_lr_ratio)


def _share(step: int, rise: int, total: int, least: float) -> float:
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return least + (1 - least) * cosine
