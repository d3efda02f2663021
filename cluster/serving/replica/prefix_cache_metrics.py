"""Prefix-cache metrics of a replica, and their sum for `status`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Protocol, runtime_checkable

from cluster.serving.metrics import Metric, Sink
from cluster.types import PromptCacheStats

PROMPT_HITS = Metric("counter", "reward_prompt_cache_hits", "Prompts of batches that were kept.")
PROMPT_MISSES = Metric(
    "counter", "reward_prompt_cache_misses", "Prompts of batches that were computed."
)
PROMPT_HIT_TOKENS = Metric(
    "counter", "reward_prompt_cache_hit_tokens", "Tokens not run because their prompt was kept."
)
PROMPT_BYTES = Metric("gauge", "reward_prompt_cache_bytes", "Keys and values of kept prompts.")
PROMPT_METRICS = (PROMPT_HITS, PROMPT_MISSES, PROMPT_HIT_TOKENS, PROMPT_BYTES)


@runtime_checkable
class KeepsPrompts(Protocol):
    """A backend that has a prompt cache."""

    @property
    def prompt_stats(self) -> PromptCacheStats:
        """Since its weights were loaded."""


class PromptMetrics:
    """Turns the totals of successive caches into counters."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._last = PromptCacheStats()

    def show(self, now: PromptCacheStats) -> None:
        """Record the totals after a batch. Lower totals than last time are those of new weights,
        counted from 0."""
        last = self._last if now.hits + now.misses >= self._last.hits + self._last.misses else None
        before = last or PromptCacheStats()
        self._last = now
        for metric, more in (
            (PROMPT_HITS, now.hits - before.hits),
            (PROMPT_MISSES, now.misses - before.misses),
            (PROMPT_HIT_TOKENS, now.hit_tokens - before.hit_tokens),
        ):
            if more > 0:
                self._sink.record(metric, more, {})
        self._sink.record(PROMPT_BYTES, now.bytes, {})


def prompt_stats(backend: object) -> PromptCacheStats:
    """Of `backend`; all 0 if it has no cache."""
    return backend.prompt_stats if isinstance(backend, KeepsPrompts) else PromptCacheStats()


def summed(stats: Sequence[PromptCacheStats]) -> PromptCacheStats:
    """Over replicas."""
    names = [field.name for field in fields(PromptCacheStats)]
    return PromptCacheStats(**{name: sum(getattr(s, name) for s in stats) for name in names})
