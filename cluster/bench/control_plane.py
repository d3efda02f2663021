"""Control-plane benchmark (`bench cluster --fake-gpu N`): throughput when forwards cost no CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from cluster.bench import hardware, workloads
from cluster.bench.load_generator import Call, LoadReport, closed_loop
from cluster.bench.service import client_caller, service
from cluster.config import ClusterConfig, EngineConfig, FakeGpuConfig, ReplicaConfig
from cluster.types import Encoding


def bench_control_plane(
    n_gpus: int,
    n_batchers: int = 1,
    speed: float = 1.0,
    seconds: float = 10.0,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Throughput of the control plane alone: replicas sleep as long as an H200 would compute.

    Calls of 64 sequences of 500 tokens, with more and more of them under way; `best` is the step
    with the highest throughput.

    n_gpus: number of replicas.  speed: of a fake GPU, in H200s; a few fast ones load the control
    plane as many real ones would, without the processes that would then run on other machines.
    seconds: approximate length of a step.
    """
    engine = EngineConfig(model="tiny", device="cpu", token_budget=16384)
    h200 = FakeGpuConfig()
    gpu = replace(h200, flops=speed * h200.flops)
    config = ClusterConfig(engine=engine, replica=ReplicaConfig(backend="sleep", fake_gpu=gpu))
    floor = n_gpus * gpu.flops / gpu.flops_per_token / 500
    options = {"num_replicas": n_gpus, "ray_actor_options": {"num_cpus": 0}}
    steps = []
    with service(config, options, n_batchers) as client:
        asyncio.run(closed_loop(client_caller(client), _fake_calls(4, 0), 4))
        for under_way in (n for n in (1, 2, 4, 8, 16, 32, 64) if n <= max(4, 4 * n_gpus * speed)):
            log(f"{n_gpus} fake GPUs, {n_batchers} batchers: {under_way} calls under way")
            report = _sustained(client_caller(client), under_way, seconds)
            steps.append({"under_way": under_way, **report.summary()})
    best = max(steps, key=lambda step: step["sequences_per_s"])
    return {
        "bench": "cluster-fake-gpu",
        "machine": hardware.describe(torch.device("cpu")),
        "gpus": n_gpus,
        "speed": speed,
        "batchers": n_batchers,
        "gpu_floor_sequences_per_s": floor,
        "steps": steps,
        "best": best,
    }


def _sustained(call: Call, under_way: int, seconds: float) -> LoadReport:
    """A closed loop of about `seconds`; one round of calls before it tells how many it needs."""
    first = asyncio.run(closed_loop(call, _fake_calls(under_way, under_way), under_way))
    n = max(2 * under_way, min(2000, int(under_way * seconds / first.wall_s)))
    return asyncio.run(closed_loop(call, _fake_calls(n, 1000 + under_way), under_way))


def _fake_calls(n: int, seed: int) -> list[list[Encoding]]:
    """`n` calls of 64 sequences, with ids in tiny's vocabulary."""
    return [workloads.uniform(500, 64, 500, seed * 10_000 + i) for i in range(n)]
