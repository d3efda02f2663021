"""Load generator: closed loop (fixed concurrency) and open loop (Poisson arrivals).

A call is an awaitable that returns Scores. Its latency is measured by the caller; queue and forward
times are read from the Scores.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from cluster.types import Encoding, Score

Call = Callable[[Sequence[Encoding]], Awaitable[list[Any]]]


@dataclass
class LoadReport:
    """Measurements of a load, times in seconds.

    sequences, tokens: scored, without errors.  call_s: per call.  queue_s, forward_s: per scored
    sequence.
    """

    wall_s: float = 0.0
    sequences: int = 0
    tokens: int = 0
    errors: int = 0
    call_s: list[float] = field(default_factory=list)
    queue_s: list[float] = field(default_factory=list)
    forward_s: list[float] = field(default_factory=list)

    def add(self, calls: Sequence[Encoding], answers: Sequence[Any], call_s: float) -> None:
        """Record one call's answers; whatever is not a Score counts as an error."""
        pairs = zip(calls, answers, strict=True)
        scored = [(encoding, a) for encoding, a in pairs if isinstance(a, Score)]
        scores = [score for _, score in scored]
        self.errors += len(answers) - len(scores)
        self.sequences += len(scores)
        self.tokens += sum(encoding.n_tokens for encoding, _ in scored)
        self.call_s.append(call_s)
        self.queue_s += [s.queue_s for s in scores]
        self.forward_s += [s.forward_s for s in scores]

    def summary(self) -> dict[str, Any]:
        """Rates over the whole load; latencies as percentiles in milliseconds."""
        return {
            "sequences_per_s": self.sequences / self.wall_s,
            "tokens_per_s": self.tokens / self.wall_s,
            "errors": self.errors,
            "call_ms": percentiles(self.call_s),
            "queue_ms": percentiles(self.queue_s),
            "forward_ms": percentiles(self.forward_s),
        }


def joined(reports: Sequence[LoadReport]) -> LoadReport:
    """One report of several loads that ran one after the other."""
    whole = LoadReport()
    for one in reports:
        for each in fields(LoadReport):
            setattr(whole, each.name, getattr(whole, each.name) + getattr(one, each.name))
    return whole


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds; empty if there are no values."""
    if not seconds:
        return {}
    values = np.percentile(np.array(seconds) * 1e3, [50, 95, 99])
    return dict(zip(("p50", "p95", "p99"), values.tolist(), strict=True))


async def closed_loop(
    call: Call, calls: Sequence[Sequence[Encoding]], under_way: int
) -> LoadReport:
    """Make all `calls`, `under_way` at a time."""
    report, queue = LoadReport(), list(reversed(calls))

    async def worker() -> None:
        while queue:
            await _timed(call, queue.pop(), report)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(under_way)))
    report.wall_s = time.perf_counter() - started
    return report


async def open_loop(
    call: Call, calls: Sequence[Sequence[Encoding]], calls_per_s: float
) -> LoadReport:
    """Start all `calls` at exponential intervals, whether or not earlier ones have ended."""
    report, rng = LoadReport(), np.random.default_rng(0)
    started = time.perf_counter()
    at, tasks = started, []
    for each in calls:
        tasks.append(asyncio.create_task(_timed(call, each, report)))
        at += rng.exponential(1 / calls_per_s)
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
    await asyncio.gather(*tasks)
    report.wall_s = time.perf_counter() - started
    return report


async def _timed(call: Call, encodings: Sequence[Encoding], report: LoadReport) -> None:
    started = time.perf_counter()
    answers = await call(encodings)
    report.add(encodings, answers, time.perf_counter() - started)
