"""Metrics: names, buckets, and the one place where each is recorded.

They reach Ray's Prometheus endpoint with the prefix `ray_` and Serve's tags (application,
deployment, replica) through a sink (`ray_metrics`). `ServingMetrics` holds the arithmetic and the
totals that `reward-cluster status` shows. Rewards are signed and Ray's histograms are not, so their
distribution is kept here, over a window, and exported as gauges.

Shape legend: N items of a batch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from cluster.serving.window import Shape, Window


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. tags: its label names. buckets: upper bounds, of a histogram."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    description: str
    tags: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
WINDOW = 8192
"""Rewards over which mean, spread and quantiles are taken."""
LATENCY_WINDOW = 512
"""Batches over which the latency's quantiles are taken."""
SHAPE_EVERY_S = 1.0
"""Quantiles cost 0.4 ms, so they are not computed for every batch."""

QUEUED_ITEMS = Metric("gauge", "reward_queued_items", "Sequences waiting for a device.")
QUEUED_TOKENS = Metric("gauge", "reward_queued_tokens", "Tokens waiting for a device.")
BATCH_FILL = Metric(
    "histogram", "reward_batch_fill", "Unique tokens of a batch / token budget.", buckets=SHARES
)
SAVED_SHARE = Metric(
    "gauge", "reward_prefix_saved_share", "Share of a batch's tokens not computed."
)
SCORED_ITEMS = Metric("counter", "reward_scored_items", "Sequences scored.")
SCORED_TOKENS = Metric("counter", "reward_scored_tokens", "Tokens scored; its rate is tokens/s.")
SAVED_TOKENS = Metric(
    "counter", "reward_prefix_saved_tokens", "Tokens saved as shared prefixes are computed once."
)
FORWARD_S = Metric("histogram", "reward_forward_seconds", "Seconds of a forward.", buckets=SECONDS)
QUEUE_S = Metric(
    "histogram", "reward_queue_seconds", "Longest wait in a batch, in seconds.", buckets=SECONDS
)
OLDEST_S = Metric("gauge", "reward_oldest_item_seconds", "Age of the oldest unanswered item.")
SINCE_DISPATCH_S = Metric(
    "gauge", "reward_since_dispatch_seconds", "Seconds since a batch was last sent to a replica."
)
STRUCK = Metric("gauge", "reward_struck_replicas", "Replicas excluded: they do not answer.")
ERRORS = Metric("counter", "reward_errors", "Items and calls that failed, by class.", ("code",))
RETRIES = Metric("counter", "reward_batch_retries", "Batches tried again on another replica.")
WEIGHTS_REFUSED = Metric(
    "gauge", "reward_weights_refused", "1 while a replica serves older weights than requested."
)
REWARD_MEAN = Metric("gauge", "reward_mean", f"Mean of the last {WINDOW} rewards.")
REWARD_STD = Metric("gauge", "reward_std", f"Standard deviation of the last {WINDOW} rewards.")
REWARD_QUANTILE = Metric(
    "gauge", "reward_quantile", f"Quantiles of the last {WINDOW} rewards.", ("quantile",)
)
ALL = (
    QUEUED_ITEMS,
    QUEUED_TOKENS,
    BATCH_FILL,
    SAVED_SHARE,
    SCORED_ITEMS,
    SCORED_TOKENS,
    SAVED_TOKENS,
    FORWARD_S,
    QUEUE_S,
    OLDEST_S,
    SINCE_DISPATCH_S,
    STRUCK,
    ERRORS,
    RETRIES,
    WEIGHTS_REFUSED,
    REWARD_MEAN,
    REWARD_STD,
    REWARD_QUANTILE,
)


class Sink(Protocol):
    """Where values go; tests use a list."""

    def record(self, metric: Metric, value: float, tags: dict[str, str]) -> None:
        """Add to a counter, set a gauge, observe in a histogram."""


@dataclass(slots=True)
class Totals:
    """Since the process started; differences of two are rates. errors: by code.

    fill: sum of the batches' unique tokens / token budget.
    rewards, latency_s: of the last rewards, and of the last batches' seconds from the arrival of
        their first item to their answer; None before the first.
    """

    batches: int = 0
    items: int = 0
    tokens: int = 0
    saved_tokens: int = 0
    fill: float = 0.0
    forward_s: float = 0.0
    retries: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    rewards: Shape | None = None
    latency_s: Shape | None = None


class ServingMetrics:
    """Records what happens in one process. Without a sink it only counts."""

    def __init__(
        self, sink: Sink | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.totals = Totals()
        self.rewards = Window(WINDOW)
        self._latencies = Window(LATENCY_WINDOW)
        self._sink = sink
        self._clock = clock
        self._next_shape = clock()

    def queue(self, items: int, tokens: int) -> None:
        """Set how much waits now."""
        self._record(QUEUED_ITEMS, items)
        self._record(QUEUED_TOKENS, tokens)

    def progress(self, oldest_s: float, since_dispatch_s: float, struck: int) -> None:
        """Set how long things have waited. struck: replicas that do not answer."""
        self._record(OLDEST_S, oldest_s)
        self._record(SINCE_DISPATCH_S, since_dispatch_s)
        self._record(STRUCK, struck)

    def batch_cut(self, tokens: int, unique: int, budget: int) -> None:
        """A batch of `tokens`, `unique` of which run, leaves the queue."""
        self.totals.fill += unique / budget
        self._record(BATCH_FILL, unique / budget)
        self._record(SAVED_SHARE, 1 - unique / tokens)
        if tokens > unique:
            self.totals.saved_tokens += tokens - unique
            self._record(SAVED_TOKENS, tokens - unique)

    def batch_done(
        self, tokens: int, queue_s: float, forward_s: float, rewards: Sequence[float]
    ) -> None:
        """A batch came back. tokens: of its scored items, whose rewards these are."""
        totals = self.totals
        totals.batches += 1
        totals.items += len(rewards)
        totals.tokens += tokens
        totals.forward_s += forward_s
        self._record(FORWARD_S, forward_s)
        self._record(QUEUE_S, queue_s)
        self._latencies.add([queue_s + forward_s])
        if rewards:
            self._record(SCORED_ITEMS, len(rewards))
            self._record(SCORED_TOKENS, tokens)
            self._distribution(rewards)

    def error(self, code: str, n: int = 1) -> None:
        """`n` items or calls ended with the error class `code`."""
        self.totals.errors[code] += n
        self._record(ERRORS, n, code=code)

    def retry(self) -> None:
        """A batch is tried again."""
        self.totals.retries += 1
        self._record(RETRIES, 1)

    def _distribution(self, rewards: Sequence[float]) -> None:
        self.rewards.add(rewards)
        if self._clock() < self._next_shape:
            return
        self._next_shape = self._clock() + SHAPE_EVERY_S
        self.totals.latency_s = self._latencies.shape()
        shape = self.totals.rewards = self.rewards.shape()
        self._record(REWARD_MEAN, shape.mean)
        self._record(REWARD_STD, shape.std)
        for q, value in shape.quantiles.items():
            self._record(REWARD_QUANTILE, value, quantile=f"{q:g}")

    def _record(self, metric: Metric, value: float, **tags: str) -> None:
        if self._sink is not None:
            self._sink.record(metric, value, tags)
