"""A load's rates are of what was scored; its errors are counted apart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cluster.bench import workloads
from cluster.bench.load_generator import closed_loop, joined
from cluster.errors import Overloaded, RewardError
from cluster.types import Encoding, Score


async def first_only(encodings: Sequence[Encoding]) -> list[Score | RewardError]:
    """Scores the first sequence and refuses the others."""
    n_tokens = encodings[0].n_tokens
    score = Score(1.0, n_tokens, 1, False, 0.25, 0.5, "m", "r1", "invariant")
    return [score, *(Overloaded("full") for _ in encodings[1:])]


def test_a_sequence_that_was_not_scored_adds_to_no_rate() -> None:
    calls = [workloads.uniform(100, 3, 5, seed) for seed in range(2)]
    report = asyncio.run(closed_loop(first_only, calls, under_way=1))
    assert (report.sequences, report.tokens, report.errors) == (2, 10, 4)
    summary = report.summary()
    assert summary["tokens_per_s"] == pytest.approx(5 * summary["sequences_per_s"])
    assert summary["forward_ms"]["p50"] == 500.0
    twice = joined([report, report])
    assert (twice.tokens, twice.errors, len(twice.call_s)) == (20, 8, 4)
