from __future__ import annotations

from typing import Any

import pytest
from support.http import made_score

from cluster.config import TransformConfig
from cluster.errors import InvalidInput, RewardError, TooLong
from cluster.serving.scoring.transformed import as_json, parse_transforms, with_transformed
from cluster.types import Message, Score

USER: Message = {"role": "user", "content": "hi"}
CHAT: list[Message] = [USER, {"role": "assistant", "content": "hello"}]


def transformed(results: list[Score | RewardError]) -> list[float | None]:
    return [one.transformed_reward if isinstance(one, Score) else None for one in results]


def test_a_group_is_every_response_to_one_prompt_however_it_is_written() -> None:
    conversations = [("hi", "a"), [1, 2], CHAT, "text", ([USER], "b"), ("ho", "c")]
    rewards = [1.0, 9.0, 2.0, 8.0, 6.0, 5.0]
    found = with_transformed(
        conversations, [made_score(reward) for reward in rewards], parse_transforms(["centre"])
    )
    assert transformed(found) == [-2.0, 0.0, -1.0, 0.0, 3.0, 0.0]
    assert [one.reward for one in found if isinstance(one, Score)] == rewards


def test_an_error_stays_and_is_nobodys_baseline() -> None:
    conversations = [("hi", "a"), ("hi", "b" * 99), ("hi", "c")]
    results: list[Score | RewardError] = [
        made_score(1.0),
        TooLong("too long", 1),
        made_score(3.0),
    ]
    found = with_transformed(conversations, results, parse_transforms(["leave_one_out"]))
    assert transformed(found) == [-2.0, None, 2.0]
    assert found[1] is results[1]


def test_nothing_is_transformed_unless_asked_for() -> None:
    results = [made_score(1.0)]
    assert with_transformed([("hi", "a")], results, ()) == results


def test_names_mappings_and_configs_are_one_record() -> None:
    clip = {"name": "clip", "parameters": {"low": -1, "high": 1}}
    steps = parse_transforms(["centre", clip, TransformConfig("normalise")])
    assert as_json(steps) == [
        {"name": "centre", "parameters": {}},
        clip,
        {"name": "normalise", "parameters": {}},
    ]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("centre", "must be a list"),
        (5, "must be a list"),
        (["center"], "affine"),
        ([5], "name"),
        ([{"name": "clip", "low": 1}], "low"),
        ([{"name": "clip", "parameters": {"lower": 1}}], "lower"),
        ([{"name": "clip", "parameters": {"low": 2, "high": 1}}], "low <= high"),
        ([{"name": "clip", "parameters": {"low": 10**400, "high": 10**401}}], "clip"),
        ([{"name": "affine", "parameters": {"mean": 10**400, "std": 1}}], "affine"),
        ([{"name": "normalise", "parameters": {"epsilon": [1.0, 2.0]}}], "must be a number"),
        ([{"name": "whiten", "parameters": {"moments": 5}}], "whiten"),
        ([{"name": "whiten", "parameters": {"moments": {"count": 1}}}], "running whitening"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_scored(given: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        parse_transforms(given)


def test_parameters_that_overflow_are_the_callers_mistake() -> None:
    steps = parse_transforms([{"name": "affine", "parameters": {"mean": 0.0, "std": 1e-308}}])
    with pytest.raises(InvalidInput, match="not finite"):
        with_transformed([("hi", "a")], [made_score(30.0)], steps)
