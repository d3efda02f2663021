"""Reward transforms: pure functions of float64 arrays, recorded beside the raw reward.

Invariant: nothing here changes its arguments, and a recorded row keeps its raw `rewards`; what was
done to them stands by name, with its parameters, next to the result. All are off unless asked for.
Shapes: K rewards of one prompt's responses, in their order; N rewards of any conversations.

Only differences of a Bradley-Terry reward mean anything, so centring loses nothing; dividing by a
deviation changes what one unit of KL costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cluster.config import STRICT
from cluster.errors import ConfigError, InvalidInput

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
    return (_array(rewards_N) - mean) / std


def clip(rewards_N: npt.ArrayLike, low: float = -10.0, high: float = 10.0) -> Rewards:
    """Rewards cut to [low, high]; the defaults are OpenRLHF's `reward_clip_range`."""
    if not low <= high:
        raise ConfigError(f"clip needs low <= high, not {low} and {high}")
    return np.clip(_array(rewards_N), low, high)


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
    rewards, base = _array(rewards_N), _array(reference)
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
        rewards = _array(rewards_N)
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
    centred = _array(rewards_N) - (moments.mean if shift_mean else 0.0)
    return centred / (moments.std + epsilon)


TRANSFORMS: dict[str, Callable[..., Rewards]] = {
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


@dataclass(frozen=True, slots=True)
class TransformConfig:
    """One transform and its parameters, as they are recorded. `whiten` takes the moments' dict.

    Raises ConfigError for a name that is not known.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in TRANSFORMS:
            raise ConfigError(f"no transform {self.name!r}; known: {', '.join(TRANSFORMS)}")

    def apply(self, rewards: npt.ArrayLike) -> Rewards:
        """The transformed rewards. Raises ConfigError for parameters that do not fit."""
        given = dict(self.parameters)
        if self.name == "whiten" and isinstance(given.get("moments"), Mapping):
            given["moments"] = RunningMoments.from_dict(given["moments"])
        try:
            return TRANSFORMS[self.name](rewards, **given)
        except TypeError as error:
            raise ConfigError(f"{self.name}: {error}") from None


def apply(rewards: npt.ArrayLike, steps: Sequence[TransformConfig]) -> Rewards:
    """`rewards` through every step in turn."""
    result = _array(rewards)
    for step in steps:
        result = step.apply(result)
    return result


def check(steps: Sequence[TransformConfig]) -> None:
    """Raises ConfigError for parameters that cannot work, before any reward is there."""
    for step in steps:
        if step.name == "subtract_reference" and np.size(step.parameters.get("reference", 0)) != 1:
            raise ConfigError("subtract_reference: one `reference` for all, where it is configured")
        step.apply([0.0, 1.0])


def apply_by_group(
    rewards_N: npt.ArrayLike, groups_N: npt.ArrayLike, steps: Sequence[TransformConfig]
) -> Rewards:
    """`rewards_N` through every step, those in `GROUPED` within equal numbers of `groups_N`.

    A group of one becomes 0 there: nothing is known of it beside its prompt's other responses.
    """
    result, groups = _array(rewards_N).copy(), np.asarray(groups_N)
    for step in steps:
        if step.name not in GROUPED:
            result = step.apply(result)
            continue
        for group in np.unique(groups):
            inside = groups == group
            result[inside] = step.apply(result[inside]) if inside.sum() > 1 else 0.0
    return result


_FIELDS = (("rewards",), ("chosen_reward", "rejected_reward"), ("reward",))


def record(row: Mapping[str, Any], steps: Sequence[TransformConfig]) -> dict[str, Any]:
    """`row` with the `transforms` and what they made of its raw rewards, each as `transformed_...`.

    The raw rewards stay as they are, and a null stays null; transforms recorded earlier are
    replaced, never stacked. A row without rewards is returned as it is.
    """
    fields = next((names for names in _FIELDS if all(name in row for name in names)), None)
    if fields is None:
        return dict(row)
    raw = row["rewards"] if fields == ("rewards",) else [row[name] for name in fields]
    scored = [i for i, reward in enumerate(raw) if reward is not None]
    found: list[float | None] = [None] * len(raw)
    if scored:
        group = np.zeros(len(scored))
        values = apply_by_group([raw[i] for i in scored], group, steps).tolist()
        for i, value in zip(scored, values, strict=True):
            found[i] = value
    answers = [found] if fields == ("rewards",) else found
    named = {f"transformed_{n}": value for n, value in zip(fields, answers, strict=True)}
    return {**row, **named, "transforms": [asdict(step) for step in steps]}


def _array(values: npt.ArrayLike) -> Rewards:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InvalidInput("rewards must be numbers") from None
    if not np.isfinite(array).all():
        raise InvalidInput("rewards must be finite; leave out what could not be scored")
    return array


def _group(values: npt.ArrayLike) -> Rewards:
    rewards = _array(values)
    if rewards.ndim != 1 or not rewards.size:
        raise InvalidInput(f"a group is one list of rewards, not of shape {rewards.shape}")
    return rewards
