"""The streaming workload hands a contender one response at a time, and nothing from before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from cluster.bench import presets, workloads
from cluster.bench.baselines import Baseline, Unit, contenders
from cluster.bench.engine import WARM_UP_TOKENS, BenchRow, _measure, _takes_part
from cluster.bench.workloads import LONG, Workload
from cluster.types import Encoding

CPU = torch.device("cpu")


@pytest.mark.parametrize(("workload", "calls"), [("streaming", [1, 1, 1, 1]), ("grouped", [4])])
def test_responses_stream_one_by_one_and_come_together_elsewhere(
    workload: Workload, calls: list[int]
) -> None:
    seen: list[object] = []

    def units(encodings: Sequence[Encoding]) -> Iterator[tuple[Unit, Sequence[Encoding]]]:
        yield lambda: seen.append(len(encodings)), encodings

    load = workloads.uniform(100, 4, 5, seed=0)
    row = BenchRow("a contender", workload)
    _measure(row, Baseline("a contender", units, lambda: seen.append("reset")), load, CPU, 60.0)
    assert seen == [1, "reset", *calls]  # the first one warms up
    assert row.sampled_tokens == 20


@pytest.mark.slow
def test_the_engine_streams_with_and_without_kept_prompts() -> None:
    module = presets.build("cpu", CPU)
    found = contenders(module, 64)
    streaming = [c.name for c in found if _takes_part(c, "streaming")]
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


def test_a_long_prompt_is_measured_without_padding_and_warms_up_by_its_start() -> None:
    load = workloads.make("long-8k", 100)
    assert len({e.input_ids[:8192].tobytes() for e in load}) == 1
    assert {e.prompt_len for e in load} == {LONG["long-8k"]}
    seen: list[int] = []

    def units(encodings: Sequence[Encoding]) -> Iterator[tuple[Unit, Sequence[Encoding]]]:
        yield lambda: seen.append(max(e.n_tokens for e in encodings)), encodings

    one = Baseline("a contender", units, streams=True)
    _measure(BenchRow("a contender", "long-8k"), one, load, CPU, 60.0)
    assert seen == [WARM_UP_TOKENS, max(e.n_tokens for e in load)]
    assert _takes_part(one, "long-32k")
    assert not _takes_part(Baseline("padded", units), "long-32k")
