"""`bench cluster`: the service against the engine alone, and the control plane against fake GPUs.

The engine alone and the replica run the same checkpoint with the same number of torch threads, one
fewer than the cores where there are several: the service's other processes need a core of their
own, which is so taken from both sides alike. Every call's ids are new, as equal ones would be
answered from memory.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch

from cluster.bench import machine, presets, workloads
from cluster.bench.load import Call, Report, closed_loop, open_loop
from cluster.bench.over_http import free_port, http_caller
from cluster.config import ClusterConfig, EngineConfig, FakeGpuConfig, ReplicaConfig
from cluster.serving.local import local_service
from cluster.types import Chat, Encoding, Message

VOCAB = 31_000
Log = Callable[[str], None]


def run(preset: presets.Preset, n_calls: int = 12, log: Log = print) -> dict[str, Any]:
    """Throughput and latency with real forwards, through the actor client and through HTTP."""
    threads = max(1, (os.cpu_count() or 1) - 1)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        presets.save(preset, Path(folder))
        engine = EngineConfig(model=folder, device="cpu", token_budget=8192)
        header = assistant_header(engine)
        calls = [workloads.grouped(VOCAB, 2, 8, 100 + i, header) for i in range(n_calls)]
        log("the engine alone")
        alone = _alone(engine, calls)
        served: dict[str, Any] = {}
        config = ClusterConfig(engine=engine)
        options = {"ray_actor_options": {"num_cpus": threads}}
        port = free_port()
        with _service(config, options, http_port=port) as client:
            callers = {
                "client": client_caller(client),
                "http": http_caller(f"http://127.0.0.1:{port}"),
            }
            for name, caller in callers.items():
                served[name] = _served(caller, calls, header, name, log)
        again = _alone(engine, calls)
    rate = statistics.fmean([alone, again])
    return {
        "bench": "cluster",
        "preset": preset,
        "machine": machine.describe(torch.device("cpu")),
        "engine_alone_tokens_per_s": rate,
        "served": served,
        "ratios": {k: v["closed"]["tokens_per_s"] / rate for k, v in served.items()},
    }


def run_fake(
    n_gpus: int,
    n_batchers: int = 1,
    speed: float = 1.0,
    seconds: float = 10.0,
    log: Log = print,
) -> dict[str, Any]:
    """What the control plane alone carries: replicas that sleep as long as an H200 would work.

    Calls of 64 sequences of 500 tokens; more and more of them under way, until it helps no more.
    speed: of a fake GPU, in H200s; few fast ones load the control plane as many real ones would,
    without the processes that these would run elsewhere.
    """
    engine = EngineConfig(model="tiny", device="cpu", token_budget=16384)
    h200 = FakeGpuConfig()
    gpu = replace(h200, flops=speed * h200.flops)
    config = ClusterConfig(engine=engine, replica=ReplicaConfig(backend="sleep", fake_gpu=gpu))
    floor = n_gpus * gpu.flops / gpu.flops_per_token / 500
    options = {"num_replicas": n_gpus, "ray_actor_options": {"num_cpus": 0}}
    steps = []
    with _service(config, options, n_batchers) as client:
        asyncio.run(closed_loop(client_caller(client), _fake_calls(4, 0), 4))
        for under_way in (n for n in (1, 2, 4, 8, 16, 32, 64) if n <= max(4, 4 * n_gpus * speed)):
            log(f"{n_gpus} fake GPUs, {n_batchers} batchers: {under_way} calls under way")
            report = _sustained(client_caller(client), under_way, seconds)
            steps.append({"under_way": under_way, **report.summary()})
    best = max(steps, key=lambda step: step["sequences_per_s"])
    return {
        "bench": "cluster-fake-gpu",
        "machine": machine.describe(torch.device("cpu")),
        "gpus": n_gpus,
        "speed": speed,
        "batchers": n_batchers,
        "gpu_floor_sequences_per_s": floor,
        "steps": steps,
        "best": best,
    }


def assistant_header(config: EngineConfig) -> list[int]:
    """What the chat template puts before an answer: there a conversation is split."""
    from cluster.engine.chat import ChatEncoder

    encoder = ChatEncoder.load(config)
    user: Chat = [Message(role="user", content="x")]
    answered = encoder.encode((user, "y"))
    asked = encoder.encode(user)
    return [int(i) for i in answered.input_ids[asked.n_tokens : answered.prompt_len]]


def client_caller(client: Any) -> Call:
    """Calls through the Ray actor client, ids as arrays."""

    async def call(encodings: Sequence[Encoding]) -> list[Any]:
        answers: list[Any] = await client.score.remote([e.input_ids for e in encodings])
        return answers

    return call


def _alone(config: EngineConfig, calls: Sequence[Sequence[Encoding]]) -> float:
    """Tokens/s of the engine in this process on the same calls."""
    from cluster.engine.engine import Engine

    engine = Engine.load(config)
    encoded = [engine.encoder.encode_all([e.input_ids for e in call]) for call in calls]
    sound = [[e for e in call if isinstance(e, Encoding)] for call in encoded]
    started = time.perf_counter()
    for call in sound:
        engine.score(call)
    return sum(map(workloads.n_tokens, sound)) / (time.perf_counter() - started)


def _served(
    call: Call, calls: list[list[Encoding]], header: list[int], name: str, log: Log
) -> dict[str, Any]:
    """Idle latency, a closed loop, and an open loop at 0.7 of the closed one's rate."""
    salt = {"client": 1, "http": 2}[name]
    unseen = [[_salted(c, 10 * i + salt, header) for c in calls] for i in range(3)]
    log(f"through {name}: idle")
    idle = asyncio.run(closed_loop(call, [c[:1] for c in unseen[0]], 1))
    log(f"through {name}: closed loop")
    closed = asyncio.run(closed_loop(call, unseen[1], 3))
    log(f"through {name}: open loop")
    rate = 0.7 * len(calls) / closed.wall_s
    opened = asyncio.run(open_loop(call, unseen[2], rate))
    added = [c - f for c, f in zip(idle.call_s, idle.forward_s, strict=True)]
    return {
        "idle_added_ms": 1e3 * statistics.median(added),
        "closed": closed.summary(),
        "open": {"calls_per_s": rate, **opened.summary()},
    }


def _salted(call: Sequence[Encoding], salt: int, header: list[int]) -> list[Encoding]:
    """The same shapes with other ids, every shared prompt still shared."""
    salted = []
    for one in call:
        ids = (one.input_ids + salt) % VOCAB
        ids[one.prompt_len - len(header) : one.prompt_len] = header
        salted.append(replace(one, input_ids=ids))
    return salted


def _sustained(call: Call, under_way: int, seconds: float) -> Report:
    """Enough calls to last about `seconds`, judged by one round."""
    first = asyncio.run(closed_loop(call, _fake_calls(under_way, under_way), under_way))
    n = max(2 * under_way, min(2000, int(under_way * seconds / first.wall_s)))
    return asyncio.run(closed_loop(call, _fake_calls(n, 1000 + under_way), under_way))


def _fake_calls(n: int, seed: int) -> list[list[Encoding]]:
    """Ids within tiny's vocabulary."""
    return [workloads.uniform(500, 64, 500, seed * 10_000 + i) for i in range(n)]


@contextmanager
def _service(
    config: ClusterConfig,
    replica_options: dict[str, Any],
    n_batchers: int = 1,
    http_port: int | None = None,
) -> Iterator[Any]:
    with local_service(
        config,
        replica_options=replica_options,
        batcher_options={"num_replicas": n_batchers},
        http_port=http_port,
    ) as client:
        actor: Any = client
        ray.get(actor.ready.remote())
        yield actor
