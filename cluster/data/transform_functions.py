"""Reward transforms as pure functions of float64 arrays; none changes its arguments.

Shapes: K rewards of one prompt's responses, in their order; N rewards of any conversations.

Only differences of a Bradley-Terry reward mean anything, so centring loses nothing; dividing by a
deviation changes what one unit of KL costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.errors import ConfigError, InvalidInput
from cluster.types import TransformName

Rewards = npt.NDArray[np.float64]

EPSILON = 1e-9
"""Added to a deviation before dividing by it, as OpenRLHF does; equal rewards become 0."""


def affine(rewards_N: npt.ArrayLike, mean: float, std: float) -> Rewards:
    """(r - mean) / std, with figures of the model or of a data set.

    OpenRLHF's `normalize_reward` keeps them in the model's config. Raises ConfigError unless std is
    above 0.
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ConfigError(f"affine needs a finite mean and a std above 0, not {mean} and {std}")
    return (as_rewards(rewards_N) - mean) / std


def clip(rewards_N: npt.ArrayLike, low: float = -10.0, high: float = 10.0) -> Rewards:
    """Rewards cut to [low, high]; the defaults are OpenRLHF's `reward_clip_range`."""
    if not low <= high:
        raise ConfigError(f"clip needs low <= high, not {low} and {high}")
    return np.clip(as_rewards(rewards_N), low, high)


def centre(rewards_K: npt.ArrayLike) -> Rewards:
    """r - the group's mean (OpenRLHF's `reinforce_baseline`, Dr. GRPO)."""
    rewards = _group(rewards_K)
    return rewards - float(rewards.mean())


def leave_one_out(rewards_K: npt.ArrayLike) -> Rewards:
    """r - the mean of the group's other rewards (RLOO; Ahmadian et al. 2024, arXiv 2402.14740).

    Raises InvalidInput for a group of one, which has no others.
    """
    rewards = _group(rewards_K)
    if rewards.size < 2:
        raise InvalidInput("leave_one_out needs a group of at least 2 rewards; use centre")
    return rewards - (float(rewards.sum()) - rewards) / (rewards.size - 1)


def normalise(rewards_K: npt.ArrayLike, epsilon: float = EPSILON) -> Rewards:
    """(r - mean) / (std + epsilon) of the group, std with K - 1 (GRPO; OpenRLHF's `group_norm`).

    A group of one, or of equal rewards, becomes 0.
    """
    rewards = _group(rewards_K)
    if rewards.max() == rewards.min():  # rounding of the mean, divided by epsilon, is no signal
        return np.zeros_like(rewards)
    return (rewards - float(rewards.mean())) / (float(rewards.std(ddof=1)) + epsilon)


def subtract_reference(rewards_N: npt.ArrayLike, reference: npt.ArrayLike) -> Rewards:
    """r - the reward of a reference response to the same prompt.

    reference: one number for all, or one for each. Raises InvalidInput where neither.
    """
    rewards, base = as_rewards(rewards_N), as_rewards(reference)
    if base.size != 1 and base.shape != rewards.shape:
        raise InvalidInput(f"{rewards.size} rewards but {base.size} reference rewards")
    return rewards - base


@dataclass(frozen=True, slots=True)
class RunningMoments:
    """Count, mean and sum of squared deviations of every reward seen so far.

    The state of running whitening: `seen` gives a new one, `asdict` and `from_dict` take it through
    JSON unchanged. Chan, Golub and LeVeque's merge (1979), so that batches of any size give the
    moments of all their rewards together.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def seen(self, rewards_N: npt.ArrayLike) -> RunningMoments:
        """The moments with `rewards_N` among them."""
        rewards = as_rewards(rewards_N)
        n = rewards.size
        if not n:
            return self
        total = self.count + n
        delta = float(rewards.mean()) - self.mean
        squares = float(np.square(rewards - rewards.mean()).sum())
        return RunningMoments(
            total,
            self.mean + delta * n / total,
            self.squares + squares + delta * delta * self.count * n / total,
        )

    @property
    def std(self) -> float:
        """With count - 1; 1 before the second reward, so that the first pass unscaled."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 1.0

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> RunningMoments:
        """The inverse of `dataclasses.asdict`. Raises ConfigError."""
        try:
            moments = cls(int(state["count"]), float(state["mean"]), float(state["squares"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"no state of running whitening: {error!r}") from None
        if (
            moments.count < 0
            or not math.isfinite(moments.mean)
            or not 0 <= moments.squares < np.inf
        ):
            raise ConfigError(f"no state of running whitening: {moments}")
        return moments


def whiten(
    rewards_N: npt.ArrayLike,
    moments: RunningMoments,
    shift_mean: bool = True,
    epsilon: float = EPSILON,
) -> Rewards:
    """(r - mean) / (std + epsilon) by `moments`; usually those that have seen `rewards_N` too.

    shift_mean False only scales, as TRL's `whiten_rewards` does, and keeps the sign of a reward.
    """
    centred = as_rewards(rewards_N) - (moments.mean if shift_mean else 0.0)
    return centred / (moments.std + epsilon)


TRANSFORMS: dict[TransformName, Callable[..., Rewards]] = {
    "affine": affine,
    "clip": clip,
    "centre": centre,
    "leave_one_out": leave_one_out,
    "normalise": normalise,
    "subtract_reference": subtract_reference,
    "whiten": whiten,
}


GROUPED = ("centre", "leave_one_out", "normalise")
"""Those of the rewards of one prompt's responses; the others take a reward by itself."""


def as_rewards(values: npt.ArrayLike) -> Rewards:
    """`values` as finite float64. Raises InvalidInput."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InvalidInput("rewards must be numbers") from None
    if not np.isfinite(array).all():
        raise InvalidInput("rewards must be finite; leave out what could not be scored")
    return array


def _group(values: npt.ArrayLike) -> Rewards:
    rewards = as_rewards(values)
    if rewards.ndim != 1 or not rewards.size:
        raise InvalidInput(f"a group is one list of rewards, not of shape {rewards.shape}")
    return rewards
