"""Transformed rewards of a call: beside the raw ones, grouped by prompt.

Invariant: the raw reward of a score is never changed, and an error stays an error. Conversations
with the same prompt are a group, wherever they are in the call. The transforms themselves:
`cluster.data.transforms`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from cluster.config import TransformConfig
from cluster.data.transforms import apply_by_group, check
from cluster.data.validation import Reader
from cluster.errors import ConfigError, InvalidInput, RewardError
from cluster.settings.parsing import parse_config
from cluster.types import Score

Transforms = Sequence[str | Mapping[str, Any] | TransformConfig]
"""As callers give them: names, {name, parameters}, or configs."""


def parse_transforms(given: Any) -> tuple[TransformConfig, ...]:
    """A caller's `Transforms`, checked.

    Raises InvalidInput, before anything is scored.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidInput("`transforms` must be a list of names or {name, parameters}")
    try:
        steps = tuple(map(_step, given))
        check(steps)
    except RewardError as error:
        raise InvalidInput(f"`transforms`: {error.message}") from None
    return steps


def with_transformed(
    conversations: Sequence[Any],
    results: Sequence[Score | RewardError],
    steps: Sequence[TransformConfig],
) -> list[Score | RewardError]:
    """`results`, one per conversation, each score with its `transformed_reward`.

    Raises InvalidInput if the parameters produce a reward that is not finite.
    """
    if not steps:
        return list(results)
    scored = {i: result for i, result in enumerate(results) if isinstance(result, Score)}
    groups = _groups([conversations[i] for i in scored])
    try:
        found = apply_by_group([score.reward for score in scored.values()], groups, steps)
    except ConfigError as error:
        raise InvalidInput(f"`transforms`: {error.message}") from None
    values = dict(zip(scored, found.tolist(), strict=True))
    return [
        replace(result, transformed_reward=values[i]) if isinstance(result, Score) else result
        for i, result in enumerate(results)
    ]


def as_json(steps: Sequence[TransformConfig]) -> list[dict[str, Any]]:
    """The steps as an answer records them."""
    return [asdict(step) for step in steps]


def _step(given: Any) -> TransformConfig:
    if isinstance(given, TransformConfig):
        step = given
    else:
        named = given if isinstance(given, Mapping) else {"name": given}
        step = parse_config(TransformConfig, named)
    for key, value in step.parameters.items():
        if not isinstance(value, int | float | Mapping):  # a list would be a number per reward
            raise InvalidInput(f"{step.name}: {key} must be a number, not {type(value).__name__}")
    return step


def _groups(conversations: Sequence[Any]) -> list[int]:
    """A number per conversation, equal where the prompts are."""
    read = Reader(vocab_size=None)
    numbers: dict[str | int, int] = {}
    return [
        numbers.setdefault(_prompt(read(conversation), i), len(numbers))
        for i, conversation in enumerate(conversations)
    ]


def _prompt(found: Any, place: int) -> str | int:
    """The prompt of a conversation; templated text and ids have no known prompt, so each is a group
    of its own."""
    return json.dumps(found[:-1]) if isinstance(found, list) else place
