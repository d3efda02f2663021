"""A replica's prompt cache as counters, across changes of weights."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np

from cluster.config import EngineConfig
from cluster.engine.engine import Engine
from cluster.serving.metrics import Metric
from cluster.serving.replica.prefix_cache_metrics import (
    PROMPT_BYTES,
    PROMPT_HIT_TOKENS,
    PROMPT_HITS,
    PROMPT_MISSES,
    PromptMetrics,
    prompt_stats,
    summed,
)
from cluster.serving.replica.replica import Replica
from cluster.types import EncodedBatch, Encoding, PromptCacheStats


class Totals:
    """A sink that adds counters and keeps gauges."""

    def __init__(self) -> None:
        self.values: Counter[Metric] = Counter()

    def record(self, metric: Metric, value: float, tags: dict[str, str]) -> None:
        old = self.values[metric] if metric.kind == "counter" else 0
        self.values[metric] = old + int(value)


def test_counters_grow_by_what_is_new_and_go_on_under_other_weights() -> None:
    sink = Totals()
    metrics = PromptMetrics(sink)
    for hits, misses, tokens, size in ((1, 2, 10, 300), (4, 2, 40, 300), (0, 1, 0, 100)):
        metrics.show(PromptCacheStats(hits, misses, tokens, bytes=size))
    assert sink.values[PROMPT_HITS] == 4
    assert sink.values[PROMPT_MISSES] == 3
    assert sink.values[PROMPT_HIT_TOKENS] == 40
    assert sink.values[PROMPT_BYTES] == 100


def test_a_backend_without_a_cache_has_zeros_and_replicas_are_summed() -> None:
    assert prompt_stats(object()) == prompt_stats(None) == PromptCacheStats()
    assert summed([PromptCacheStats(1, 2), PromptCacheStats(3, 4, bytes=5)]).misses == 6
    assert summed([]) == PromptCacheStats()


def test_a_replica_tells_what_its_engine_keeps(random_checkpoint: Path) -> None:
    prompt = np.arange(50, dtype=np.int32)
    calls = [
        EncodedBatch.from_encodings([Encoding(np.concatenate([prompt, [i]], dtype=np.int32), 50)])
        for i in range(3)
    ]

    async def run() -> list[PromptCacheStats]:
        config = EngineConfig(model=str(random_checkpoint))
        replica = Replica(config, Engine.load, 60.0)
        before = await replica.prompt_cache()
        await replica.reconfigure({})
        results = [await replica.score(call) for call in calls]
        assert [result.computed_tokens for result in results] == [51, 1, 1]
        return [before, await replica.prompt_cache()]

    before, after = asyncio.run(run())
    assert before == PromptCacheStats()
    assert (after.hits, after.misses, after.hit_tokens) == (2, 1, 100)
