"""Rewards of an engine, for tests in which every sequence can be scored."""

from __future__ import annotations

from cluster.engine.engine import Engine
from cluster.types import Encoding, Score


def rewards(engine: Engine, encodings: list[Encoding]) -> list[float]:
    results = engine.score(encodings)
    assert all(isinstance(r, Score) for r in results), results
    return [r.reward for r in results if isinstance(r, Score)]
