"""Engine benchmark (`bench engine`): every contender on the same weights and workloads in one run.

All contenders take turns in every round, so that drift of the machine affects them equally; a
contender's figure is the median over its rounds. A slow contender scores only as much of the
workload as fits into its time box, since its tokens/s does not depend on the rest. The packed
engine always scores the whole workload, since what it can share depends on all of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch

from cluster.bench import hardware, presets, workloads
from cluster.bench.baselines import ONE_BY_ONE, Baseline, contenders
from cluster.bench.vllm_baseline import vllm_contender
from cluster.config import EngineConfig
from cluster.engine.device_limits import forward_tokens
from cluster.engine.packing import pack, plan
from cluster.errors import ConfigError
from cluster.types import Encoding

WARM_UP_TOKENS = 2048
"""Maximum tokens of the chat that warms up a contender: a long one would take as long as a
round."""


@dataclass
class BenchRow:
    """One contender on one workload. Rates are in tokens/s; a shared prompt counts once per
    response."""

    contender: str
    workload: workloads.Workload
    rates: list[float] = field(default_factory=list)
    sampled_tokens: int = 0
    overrun: bool = False
    """The last round took over twice the time box for a part of the workload: it is not
    repeated."""
    peak_mib: float | None = None

    @property
    def tokens_per_s(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.rates)


def bench_engine(
    preset: presets.Preset,
    device: torch.device,
    token_budget: int = 8192,
    rounds: int = 3,
    box_s: float = 8.0,
    only: Sequence[str] = (),
    report: Callable[[str], None] = print,
    vllm: str | None = None,
    names: Sequence[workloads.Workload] = workloads.DEFAULT,
) -> dict[str, Any]:
    """Measure every contender on every workload; the result is ready for JSON.

    token_budget: unique tokens per forward.  box_s: seconds per round of a contender that may score
    a part of the workload.  only: parts of contenders' names; empty means all.  vllm: a Python
    interpreter that has vLLM, as one more contender.  names: of workloads.

    Raises ConfigError if `vllm` cannot run vLLM, or if `only` leaves no contender.
    """
    module = presets.build(preset, device)
    budget = forward_tokens(EngineConfig(token_budget=token_budget), device)
    loads = {name: workloads.make(name, module.config.vocab_size) for name in names}
    longest = max(e.n_tokens for load in loads.values() for e in load)
    found = contenders(module, budget, longest if device.type == "cpu" else 0)
    with ExitStack() as stack:
        extra = [stack.enter_context(vllm_contender(vllm, preset, longest))] if vllm else []
        pairs = _pairs(found, extra, list(loads), only)
        stack.enter_context(torch.inference_mode())
        for turn in range(rounds):
            for row, contender in pairs:
                if not row.overrun:
                    report(f"round {turn + 1}/{rounds}: {row.workload}, {row.contender}")
                    _measure(row, contender, loads[row.workload], device, box_s)
    rows = [row for row, _ in pairs]
    return _result(preset, module, device, budget, loads, rows)


def _pairs(
    found: Sequence[Baseline],
    extra: Sequence[Baseline],
    names: Sequence[workloads.Workload],
    only: Sequence[str],
) -> list[tuple[BenchRow, Baseline]]:
    """A row for each contender on each workload that it takes part in.

    extra: contenders to which `only` does not apply.  Raises ConfigError if there is no row.
    """
    chosen = [c for c in found if not only or any(part in c.name for part in only)]
    pairs = [
        (BenchRow(c.name, name), c)
        for name in names
        for c in (*chosen, *extra)
        if _takes_part(c, name)
    ]
    if not pairs:
        fitting = [c.name for c in found if any(_takes_part(c, name) for name in names)]
        raise ConfigError(
            f"no contender of {', '.join(names)} has {' or '.join(map(repr, only))} in its name; "
            f"there are: {'; '.join(fitting)}"
        )
    return pairs


def _takes_part(contender: Baseline, workload: workloads.Workload) -> bool:
    """Whether to measure the contender on the workload.

    Padding a long prompt for each response takes minutes and memory and shows nothing new.
    """
    if workload == "streaming":
        return contender.streams
    return contender.calls and (contender.streams or workload not in workloads.LONG)


def _measure(
    row: BenchRow, contender: Baseline, load: list[Encoding], device: torch.device, box_s: float
) -> None:
    """One round: units in order until the workload is done or the time box is full."""
    hardware.reset_peak_memory(device)
    if not row.rates:
        _warm_up(contender, [_start_of(load[0])])
    contender.reset()
    arrivals = [[e] for e in load] if row.workload == "streaming" else [load]
    units = chain.from_iterable(contender.units(arrival) for arrival in arrivals)
    tokens, started = 0, time.perf_counter()
    for unit, covered in units:
        unit()
        tokens += workloads.n_tokens(covered)
        if time.perf_counter() - started > box_s:
            break
    hardware.synchronize(device)
    elapsed = time.perf_counter() - started
    row.rates.append(tokens / elapsed)
    row.overrun = elapsed > 2 * box_s and tokens < workloads.n_tokens(load)
    row.sampled_tokens = max(row.sampled_tokens, tokens)
    row.peak_mib = max(row.peak_mib or 0.0, hardware.peak_memory(device) or 0.0) or None


def _warm_up(contender: Baseline, load: Sequence[Encoding]) -> None:
    for unit, _ in contender.units(load):
        unit()


def _start_of(encoding: Encoding) -> Encoding:
    ids = encoding.input_ids[:WARM_UP_TOKENS]
    return Encoding(ids, encoding.prompt_len if encoding.prompt_len < len(ids) else 0)


def _result(
    preset: str,
    module: Any,
    device: torch.device,
    budget: int,
    loads: Mapping[workloads.Workload, list[Encoding]],
    rows: list[BenchRow],
) -> dict[str, Any]:
    peaks = {
        str(dtype).removeprefix("torch."): hardware.matmul_peak(device, dtype)
        for dtype in (torch.bfloat16, torch.float32)
    }
    flops = presets.flops_per_token(module)
    return {
        "bench": "engine",
        "preset": preset,
        "machine": hardware.describe(device),
        "matmul_peak_flops": peaks,
        "layer_flops_per_token": flops,
        "token_budget": budget,
        "workloads": {name: _describe(load, budget) for name, load in loads.items()},
        "rows": [_row(row, rows, loads[row.workload], flops, peaks) for row in rows],
    }


def _row(
    row: BenchRow, rows: list[BenchRow], load: list[Encoding], flops: float, peaks: dict[str, float]
) -> dict[str, Any]:
    """A row of the result.

    Ratios are to one by one in the checkpoint's dtype and, if the engine computes in a wider one,
    to one by one in float32. Fractions of the matmul peak count each distinct token once, however
    often it is computed.
    """
    one_by_one = [r for r in rows if r.workload == row.workload and ONE_BY_ONE in r.contender]
    distinct = pack(load, "fast").n_unique_tokens / workloads.n_tokens(load)
    rate = row.tokens_per_s
    return {
        "workload": row.workload,
        "contender": row.contender,
        "tokens_per_s": rate,
        "ratios": [rate / baseline.tokens_per_s for baseline in one_by_one],
        "rounds": row.rates,
        "sampled_tokens": row.sampled_tokens,
        "fraction_of_peak": {name: rate * distinct * flops / p for name, p in peaks.items()},
        "peak_mib": row.peak_mib,
    }


def _describe(load: list[Encoding], token_budget: int) -> dict[str, Any]:
    """Size of a workload, and the seconds that planning and packing it take."""
    started = time.perf_counter()
    batches = [pack([load[i] for i in group], "fast") for group in plan(load, "fast", token_budget)]
    return {
        "sequences": len(load),
        "tokens": workloads.n_tokens(load),
        "unique_tokens": sum(b.n_unique_tokens for b in batches),
        "packing_s": time.perf_counter() - started,
    }
