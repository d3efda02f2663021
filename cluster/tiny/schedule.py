"""Learning-rate schedule of `tiny`: linear warm-up, then half a cosine.

It is one step ahead of transformers' during the warm-up: the first step learns too.
"""

from __future__ import annotations

import math
from functools import partial

from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.trainer import Schedule


def schedule(config: TrainConfig, total: int) -> Schedule:
    """That of a training run."""
    return cosine_share(total, config.warmup_ratio, config.min_lr_ratio)


def cosine_share(total: int, warmup_ratio: float, least: float) -> Schedule:
    """Linear warm-up from 1 / its steps, then half a cosine down to `least`."""
    rise = max(1, math.ceil(warmup_ratio * total))
    return partial(_share, rise=rise, total=total, least=least)


def _share(step: int, rise: int, total: int, least: float) -> float:
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return least + (1 - least) * cosine
