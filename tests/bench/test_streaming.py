"""The streaming workload hands a contender one response at a time, and nothing from before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from cluster.bench import presets, workloads
from cluster.bench.baselines import Baseline, Unit, contenders
from cluster.bench.engine import STREAMING, BenchRow, _measure, _takes_part
from cluster.types import Encoding

CPU = torch.device("cpu")


@pytest.mark.parametrize(("workload", "calls"), [(STREAMING, [1, 1, 1, 1]), ("grouped", [4])])
def test_responses_stream_one_by_one_and_come_together_elsewhere(
    workload: str, calls: list[int]
) -> None:
    seen: list[object] = []

    def units(encodings: Sequence[Encoding]) -> Iterator[tuple[Unit, Sequence[Encoding]]]:
        yield lambda: seen.append(len(encodings)), encodings

    load = workloads.uniform(100, 4, 5, seed=0)
    row = BenchRow("a contender", workload)
    _measure(row, Baseline("a contender", units, lambda: seen.append("reset")), load, CPU, 60.0)
    assert seen == [1, "reset", *calls]  # the first one warms up
    assert row.sampled_tokens == 20


def test_the_engine_streams_with_and_without_kept_prompts() -> None:
    module = presets.build("cpu", CPU)
    found = contenders(module, 64)
    streaming = [c.name for c in found if _takes_part(c, STREAMING)]
    assert (
        streaming
        == [
            "one by one (the card's pipeline)",
            "engine, invariant",
            "engine, invariant, no prompt kept",
            "engine, fast",
            "engine, fast, no prompt kept",
        ]
        or "one by one, float32" in streaming
    )
    assert not any("no prompt kept" in c.name for c in found if _takes_part(c, "grouped"))
