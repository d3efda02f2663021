"""A replica's rate counts what it answered, its speed what it computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.dispatcher import sequence

from cluster.serving.batching.load_tracker import LoadTracker
from cluster.serving.metrics import ServingMetrics
from cluster.serving.protocol import BatchResult, ItemResult, Source

SOURCE = Source("m", "r1", "invariant")


def test_kept_prompts_make_a_replica_drain_faster_but_not_compute_faster() -> None:
    load_tracker = LoadTracker(ServingMetrics(), token_budget=100, share_prompts=True)
    sequences = [sequence(i) for i in range(4)]
    unique = load_tracker.sent(sequences)
    items = [ItemResult(float(i), 0.0, 0.5, SOURCE) for i in range(4)]
    result = replace(BatchResult.from_items(items), wall_s=0.5)
    load_tracker.answered(sequences, replace(result, computed_tokens=1), unique)
    np.testing.assert_allclose(load_tracker.rate.tokens_per_s, unique / 0.5)
    np.testing.assert_allclose(load_tracker.speed.tokens_per_s, 1 / 0.5)
    assert unique > 1


def test_where_a_backend_does_not_tell_what_it_computed_both_are_the_same() -> None:
    load_tracker = LoadTracker(ServingMetrics(), token_budget=100, share_prompts=True)
    sequences = [sequence(1)]
    unique = load_tracker.sent(sequences)
    result = replace(BatchResult.from_items([ItemResult(1.0, 0.0, 0.5, SOURCE)]), wall_s=0.5)
    load_tracker.answered(sequences, result, unique)
    assert load_tracker.speed.tokens_per_s == load_tracker.rate.tokens_per_s > 0
