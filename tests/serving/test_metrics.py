"""What the metrics say after batches, errors and retries; and that Ray's endpoint shows them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cluster.errors import all_error_classes
from cluster.serving import ray_metrics as module
from cluster.serving.metrics import (
    ALL,
    REWARD_MEAN,
    REWARD_QUANTILE,
    SHAPE_EVERY_S,
    Metric,
    ServingMetrics,
)
from cluster.serving.ray_metrics import RaySink
from cluster.serving.window import Window


class Recorder:
    """Counters summed, the last value of everything else."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def record(self, metric: Metric, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(metric.tags)
        key = (metric.name, *tags.values())
        before = self.values.get(key, 0.0) if metric.kind == "counter" else 0.0
        self.values[key] = before + value


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_every_metric_has_a_name_of_its_own_and_only_histograms_have_buckets() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)
    for metric in ALL:
        assert metric.name.startswith("reward_")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_a_batch_says_how_full_it_was_and_what_its_prefixes_saved(recorder: Recorder) -> None:
    metrics = ServingMetrics(recorder)
    metrics.batch_cut(tokens=400, unique=100, budget=200)
    metrics.batch_cut(tokens=100, unique=100, budget=200)
    metrics.batch_done(400, queue_s=0.5, forward_s=0.25, rewards=[1.0, 2.0])
    assert recorder.values["reward_batch_fill",] == 0.5
    assert recorder.values["reward_prefix_saved_tokens",] == 300
    assert recorder.values["reward_prefix_saved_share",] == 0
    assert recorder.values["reward_scored_tokens",] == 400
    assert recorder.values["reward_scored_items",] == 2
    assert recorder.values["reward_forward_seconds",] == 0.25
    assert metrics.totals.saved_tokens == 300
    assert (metrics.totals.batches, metrics.totals.items, metrics.totals.tokens) == (1, 2, 400)


def test_a_batch_without_a_reward_leaves_the_distribution_alone(recorder: Recorder) -> None:
    ServingMetrics(recorder).batch_done(0, queue_s=0.0, forward_s=0.1, rewards=[])
    assert set(recorder.values) == {("reward_forward_seconds",), ("reward_queue_seconds",)}


def test_every_gauge_is_set_again_to_its_last_value_and_nothing_is_counted_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()

    def make(metric: Metric) -> Callable[..., None]:
        return lambda value, tags: recorder.record(metric, value, tags)

    monkeypatch.setattr(module, "_make", make)
    sink = RaySink()
    metrics = ServingMetrics(sink)
    metrics.queue(items=3, tokens=50)
    metrics.queue(items=2, tokens=40)
    metrics.batch_cut(tokens=400, unique=100, budget=200)
    metrics.batch_done(400, queue_s=0.5, forward_s=0.25, rewards=[1.0, 2.0])
    metrics.error("overloaded")
    before = dict(recorder.values)
    gauges = {metric.name for metric in ALL if metric.kind == "gauge"}
    for key in [key for key in recorder.values if key[0] in gauges]:
        del recorder.values[key]
    sink.repeat_gauges()
    assert recorder.values == before


def test_errors_are_counted_under_their_class(recorder: Recorder) -> None:
    metrics = ServingMetrics(recorder)
    for cls in all_error_classes():
        metrics.error(cls.code, 2)
    metrics.retry()
    for cls in all_error_classes():
        assert recorder.values["reward_errors", cls.code] == 2
    assert metrics.totals.errors.total() == 2 * len(all_error_classes())
    assert metrics.totals.retries == 1


def test_the_distribution_is_refreshed_when_its_time_has_come(recorder: Recorder) -> None:
    clock = Clock()
    metrics = ServingMetrics(recorder, clock)
    metrics.batch_done(1, 0.0, 0.1, [-3.0])
    assert recorder.values[REWARD_MEAN.name,] == -3
    metrics.batch_done(1, 0.0, 0.1, [5.0])
    assert recorder.values[REWARD_MEAN.name,] == -3
    clock.now += SHAPE_EVERY_S
    metrics.batch_done(1, 0.0, 0.1, [1.0])
    assert recorder.values[REWARD_MEAN.name,] == 1
    assert recorder.values[REWARD_QUANTILE.name, "0.5"] == 1
    assert metrics.totals.rewards is not None
    assert metrics.totals.rewards.mean == 1


def test_the_window_holds_the_last_rewards_in_any_portions() -> None:
    rng = np.random.default_rng(0)
    window, seen = Window(100), np.zeros(0)
    for n in (1, 99, 1, 250, 30, 100, 7):
        part = rng.normal(size=n)
        window.add(part.tolist())
        seen = np.concatenate([seen, part])[-100:]
        shape = window.shape()
        assert shape.n == len(seen)
        assert shape.mean == pytest.approx(seen.mean())
        assert shape.std == pytest.approx(seen.std())
        assert shape.quantiles[0.25] == pytest.approx(np.quantile(seen, 0.25))


def test_an_empty_window_has_no_shape() -> None:
    with pytest.raises(ValueError, match="nothing was added"):
        Window(10).shape()
