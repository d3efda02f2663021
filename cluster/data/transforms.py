"""Reward transforms: configured, applied to groups, and recorded next to the raw reward.

Invariant: a recorded row keeps its raw `rewards`; next to the result it names each transform with
its parameters. All are off by default. Shape legend: N rewards of any conversations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.config import TransformConfig
from cluster.data.transform_functions import (
    GROUPED,
    TRANSFORMS,
    Rewards,
    RunningMoments,
    as_rewards,
)
from cluster.errors import ConfigError, RewardError
from cluster.settings.parsing import parse_config


def parse_step(text: str) -> TransformConfig:
    """Of a name, or of a mapping in YAML (`{name: clip, parameters: {low: -5}}`).

    Raises ConfigError.
    """
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{text!r} is no transform: {error}") from None
    named = found if isinstance(found, dict) else {"name": found}
    return parse_config(TransformConfig, named)


def apply_step(step: TransformConfig, rewards: npt.ArrayLike) -> Rewards:
    """The transformed rewards, finite. Raises ConfigError for a name or parameters that do not fit,
    InvalidInput for rewards that do not."""
    if step.name not in TRANSFORMS:
        raise ConfigError(f"no transform {step.name!r}; known: {', '.join(TRANSFORMS)}")
    given = dict(step.parameters)
    if step.name == "whiten" and isinstance(given.get("moments"), Mapping):
        given["moments"] = RunningMoments.from_dict(given["moments"])
    try:
        with np.errstate(all="ignore"):
            found = TRANSFORMS[step.name](rewards, **given)
    except RewardError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ConfigError(f"{step.name}: {error}") from None
    if not np.isfinite(found).all():
        raise ConfigError(f"{step.name} makes a reward that is not finite; change its parameters")
    return found


def apply(rewards: npt.ArrayLike, steps: Sequence[TransformConfig]) -> Rewards:
    """`rewards` through every step in order."""
    result = as_rewards(rewards)
    for step in steps:
        result = apply_step(step, result)
    return result


def check(steps: Sequence[TransformConfig]) -> None:
    """Raises ConfigError for parameters that cannot work, before any reward is there."""
    for step in steps:
        if step.name == "subtract_reference" and np.size(step.parameters.get("reference", 0)) != 1:
            raise ConfigError("subtract_reference: one `reference` for all, where it is configured")
        apply_step(step, [0.0, 1.0])


def apply_by_group(
    rewards_N: npt.ArrayLike, groups_N: npt.ArrayLike, steps: Sequence[TransformConfig]
) -> Rewards:
    """`rewards_N` through every step, those in `GROUPED` within equal numbers of `groups_N`.

    There a group of one becomes 0: without other responses to compare with, nothing is known about
    it.
    """
    result, groups = as_rewards(rewards_N).copy(), np.asarray(groups_N)
    for step in steps:
        if step.name not in GROUPED:
            result = apply_step(step, result)
            continue
        for group in np.unique(groups):
            inside = groups == group
            result[inside] = apply_step(step, result[inside]) if inside.sum() > 1 else 0.0
    return result


_FIELDS = (("chosen_reward", "rejected_reward"), ("rewards",), ("reward",))  # as in `formats`


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
