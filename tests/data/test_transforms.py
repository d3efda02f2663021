from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.config import TransformConfig
from cluster.data.transform_functions import (
    TRANSFORMS,
    RunningMoments,
    affine,
    centre,
    clip,
    leave_one_out,
    normalise,
    subtract_reference,
    whiten,
)
from cluster.data.transforms import apply, apply_by_group, apply_step, parse_step, record
from cluster.errors import ConfigError, InvalidInput
from cluster.types import TransformName

reward = st.floats(-50, 50, allow_nan=False, width=32)
rewards = st.lists(reward, min_size=1, max_size=12)
PARAMETERS: dict[TransformName, dict[str, Any]] = {
    "affine": {"mean": 1.0638, "std": 2.9530},
    "subtract_reference": {"reference": 0.5},
    "whiten": {"moments": {"count": 3, "mean": 1.0, "squares": 8.0}},
}
"""Of the transforms that need some."""


@given(st.lists(reward, min_size=2, max_size=12))
def test_leave_one_out_is_the_slow_loop(values: list[float]) -> None:
    slow = []
    for i, value in enumerate(values):
        others = [other for j, other in enumerate(values) if j != i]
        slow.append(value - sum(others) / len(others))
    np.testing.assert_allclose(leave_one_out(values), slow, atol=1e-9)


@given(rewards)
def test_centred_rewards_sum_to_0_and_keep_their_differences(values: list[float]) -> None:
    found = centre(values)
    assert abs(found.sum()) < 1e-9
    np.testing.assert_allclose(np.diff(found), np.diff(values), atol=1e-9)


@given(rewards)
def test_normalised_rewards_have_mean_0_and_deviation_1_or_are_all_0(values: list[float]) -> None:
    found = normalise(values)
    if len(set(values)) == 1:
        assert not found.any()
    else:
        spread = np.std(values, ddof=1)
        np.testing.assert_allclose(found.mean(), 0, atol=1e-6)
        np.testing.assert_allclose(found.std(ddof=1), spread / (spread + 1e-9), rtol=1e-6)


def test_the_formulas_by_hand() -> None:
    assert affine([1, 3, 5], mean=1, std=2).tolist() == [0, 1, 2]
    assert clip([-20, 3, 20]).tolist() == [-10, 3, 10]
    assert clip([-20, 3, 20], low=0, high=4).tolist() == [0, 3, 4]
    assert centre([1, 2, 6]).tolist() == [-2, -1, 3]
    assert leave_one_out([1, 2, 6]).tolist() == [-3, -1.5, 4.5]
    np.testing.assert_allclose(normalise([1, 3]), [-(0.5**0.5), 0.5**0.5], rtol=1e-8)
    assert subtract_reference([1, 2], 3).tolist() == [-2, -1]
    assert subtract_reference([1, 2], [3, 1]).tolist() == [-2, 1]


@given(st.lists(rewards, min_size=1, max_size=6))
def test_running_moments_of_batches_are_those_of_all_rewards_together(
    batches: list[list[float]],
) -> None:
    moments = RunningMoments()
    for batch in batches:
        moments = moments.seen(batch)
    together = np.concatenate(batches)
    assert moments.count == len(together)
    np.testing.assert_allclose(moments.mean, together.mean(), atol=1e-9)
    if len(together) > 1:
        np.testing.assert_allclose(moments.std, together.std(ddof=1), atol=1e-6)


@given(rewards, rewards)
def test_the_state_of_running_moments_goes_through_json_unchanged(
    before: list[float], after: list[float]
) -> None:
    moments = RunningMoments().seen(before)
    restored = RunningMoments.from_dict(json.loads(json.dumps(asdict(moments))))
    assert restored == moments
    assert restored.seen(after) == moments.seen(after)


def test_whitening_shifts_unless_told_not_to() -> None:
    moments = RunningMoments().seen([1, 2, 3])
    np.testing.assert_allclose(whiten([1, 2, 3], moments), [-1, 0, 1], atol=1e-8)
    np.testing.assert_allclose(whiten([1, 2, 3], moments, shift_mean=False), [1, 2, 3], atol=1e-8)
    assert whiten([5.0], RunningMoments().seen([5.0])).tolist() == [0.0]
    assert RunningMoments().seen([]) == RunningMoments()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_answers_in_float64_and_leaves_its_argument_alone(name: TransformName) -> None:
    given_rewards = np.array([1.5, -2.0, 30.0], np.float32)
    found = apply_step(TransformConfig(name, PARAMETERS.get(name, {})), given_rewards)
    assert found.shape == (3,)
    assert found.dtype == np.float64
    assert given_rewards.tolist() == [1.5, -2.0, 30.0]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None, "x"])
def test_what_is_no_finite_number_is_refused_by_every_transform(
    name: TransformName, bad: Any
) -> None:
    with pytest.raises(InvalidInput):
        apply_step(TransformConfig(name, PARAMETERS.get(name, {})), [1.0, bad])


@pytest.mark.parametrize(
    "call",
    [
        lambda: leave_one_out([1.0]),
        lambda: centre([]),
        lambda: normalise([[1.0, 2.0]]),
        lambda: subtract_reference([1.0, 2.0, 3.0], [1.0, 2.0]),
    ],
)
def test_a_shape_without_a_meaning_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: affine([1.0], mean=0.0, std=0.0),
        lambda: affine([1.0], mean=float("nan"), std=1.0),
        lambda: clip([1.0], low=1.0, high=0.0),
        lambda: apply_step(TransformConfig("center"), [1.0]),  # type: ignore[arg-type]
        lambda: apply_step(TransformConfig("clip", {"lower": 1}), [1.0]),
        lambda: apply_step(TransformConfig("affine"), [1.0]),
        lambda: RunningMoments.from_dict({"count": 1}),
        lambda: RunningMoments.from_dict({"count": 1, "mean": 0, "squares": -1}),
    ],
)
def test_parameters_that_cannot_work_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        call()


CHAIN: Sequence[TransformConfig] = (
    TransformConfig("clip", {"low": -1.0, "high": 4.0}),
    TransformConfig("leave_one_out"),
)


def test_a_record_names_its_steps_and_keeps_the_raw_rewards() -> None:
    row = {"prompt": "Hi", "responses": ["a", "b"], "rewards": [9.0, 2.0]}
    found = record(row, CHAIN)
    assert found["rewards"] == [9.0, 2.0]
    assert found["transformed_rewards"] == [2.0, -2.0]
    assert found["transforms"] == [
        {"name": "clip", "parameters": {"low": -1.0, "high": 4.0}},
        {"name": "leave_one_out", "parameters": {}},
    ]
    assert "transforms" not in row


@given(st.lists(reward, min_size=2, max_size=8))
def test_a_record_read_back_gives_the_same_rewards_again(values: list[float]) -> None:
    moments = asdict(RunningMoments().seen(values))
    first = record({"rewards": values}, (*CHAIN, TransformConfig("whiten", {"moments": moments})))
    read = json.loads(json.dumps(first))
    steps = [TransformConfig(**step) for step in read["transforms"]]
    assert apply(read["rewards"], steps).tolist() == read["transformed_rewards"]
    assert record(read, steps) == read


def test_a_group_is_that_of_its_prompt_and_a_group_of_one_becomes_0() -> None:
    steps = [TransformConfig("clip", {"low": 0.0, "high": 6.0}), TransformConfig("leave_one_out")]
    found = apply_by_group([1.0, 9.0, 5.0, 2.0], [7, 3, 7, 4], steps)
    assert found.tolist() == [-4.0, 0.0, 4.0, 0.0]


def test_a_null_reward_stays_null_and_is_nobodys_baseline() -> None:
    row = {"rewards": [1.0, None, 3.0]}
    assert record(row, [TransformConfig("centre")])["transformed_rewards"] == [-1.0, None, 1.0]


def test_rewards_of_pairs_and_of_one_response_are_recorded_under_their_names() -> None:
    steps = [TransformConfig("clip", {"low": -1.0, "high": 1.0})]
    pair = record({"chosen_reward": 3.0, "rejected_reward": 0.5}, steps)
    assert (pair["transformed_chosen_reward"], pair["transformed_rejected_reward"]) == (1.0, 0.5)
    assert record({"reward": -4.0}, steps)["transformed_reward"] == -1.0
    stale = record({"chosen_reward": 3.0, "rejected_reward": 0.5, "rewards": [7.0]}, steps)
    assert stale["transformed_chosen_reward"] == 1.0
    assert record({"error": {}}, steps) == {"error": {}}


def test_a_transform_is_given_by_its_name_or_as_yaml() -> None:
    assert parse_step("centre") == TransformConfig("centre")
    clipped = parse_step("{name: clip, parameters: {low: -5}}")
    assert clipped == TransformConfig("clip", {"low": -5})
    for text in ("{name: clip", "nothing", "{nam: clip}"):
        with pytest.raises(ConfigError):
            parse_step(text)
