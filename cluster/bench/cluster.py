"""Service benchmark (`bench cluster`): throughput and latency against the engine alone.

The engine alone and the replica run the same checkpoint with the same number of torch threads: one
fewer than there are cores, if there are several. The service's other processes need a core, and
this way both sides do without it. All contenders take turns in every round, so that drift of the
machine affects them equally; a ratio is the median over the rounds. Every call has new ids, since
equal ones would be answered from memory.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from cluster.bench import hardware, presets, workloads
from cluster.bench.http_client import free_port, http_caller
from cluster.bench.load_generator import Call, LoadReport, closed_loop, joined, open_loop
from cluster.bench.service import client_caller, preset_checkpoint, service
from cluster.config import ClusterConfig, EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.engine import Engine
from cluster.types import Chat, Encoding, Message

VOCAB = 31_000
UNDER_WAY = 3
Log = Callable[[str], None]


@dataclass(frozen=True)
class Workload:
    """Calls of 2 prompts x 8 responses, in as many versions as needed."""

    calls: list[list[Encoding]]
    header: list[int]
    """Ids that the chat template puts before a response; a chat is split after them."""

    @classmethod
    def of(cls, config: EngineConfig, n_calls: int) -> Workload:
        """`n_calls` calls, with the header of the engine's chat template."""
        header = assistant_header(config)
        return cls(
            [workloads.grouped(VOCAB, 2, 8, 100 + i, header) for i in range(n_calls)], header
        )

    def version(self, salt: int) -> list[list[Encoding]]:
        """The same shapes with other ids; shared prompts are still shared."""
        return [[self._salted(one, salt) for one in call] for call in self.calls]

    def _salted(self, one: Encoding, salt: int) -> Encoding:
        ids = (one.input_ids + salt) % VOCAB
        ids[one.prompt_len - len(self.header) : one.prompt_len] = self.header
        return replace(one, input_ids=ids)


def bench_cluster(
    preset: presets.Preset, n_calls: int = 8, rounds: int = 3, log: Log = print
) -> dict[str, Any]:
    """Throughput and latency with real forwards, through the actor client and over HTTP.

    n_calls: calls per round and contender.  Returns the figures, ready for JSON.
    """
    with preset_checkpoint(preset) as (config, threads):
        work = Workload.of(config, n_calls)
        port = free_port()
        options = {"ray_actor_options": {"num_cpus": threads}}
        with service(ClusterConfig(engine=config), options, http_port=port) as client:
            callers = {
                "client": client_caller(client),
                "http": http_caller(f"http://127.0.0.1:{port}"),
            }
            result = _compare(Engine.load(config), callers, work, rounds, log)
    return {
        "bench": "cluster",
        "preset": preset,
        "machine": hardware.describe(torch.device("cpu")),
        **result,
    }


def _compare(
    engine: Engine, callers: dict[str, Call], work: Workload, rounds: int, log: Log
) -> dict[str, Any]:
    """Per caller: latency when idle, closed loops in turn with the engine alone, an open loop."""
    versions = map(work.version, range(1, VOCAB))
    served: dict[str, dict[str, Any]] = {name: {} for name in callers}
    for name, caller in callers.items():
        log(f"through {name}: idle")
        single = [call[:1] for call in next(versions)]
        served[name]["idle_added_ms"] = _added_ms(asyncio.run(closed_loop(caller, single, 1)))
    alone: list[float] = []
    closed: dict[str, list[LoadReport]] = {name: [] for name in callers}
    for turn in range(1, rounds + 1):
        log(f"round {turn}/{rounds}: the engine alone")
        alone.append(_alone(engine, next(versions)))
        for name, caller in callers.items():
            log(f"round {turn}/{rounds}: through {name}")
            closed[name].append(asyncio.run(closed_loop(caller, next(versions), UNDER_WAY)))
    for name, caller in callers.items():
        log(f"through {name}: open loop")
        whole = joined(closed[name])
        rate = 0.7 * rounds * len(work.calls) / whole.wall_s
        opened = asyncio.run(open_loop(caller, next(versions), rate))
        served[name]["closed"] = whole.summary()
        served[name]["open"] = {"calls_per_s": rate, **opened.summary()}
    ratios = {
        name: [one.tokens / one.wall_s / base for one, base in zip(reports, alone, strict=True)]
        for name, reports in closed.items()
    }
    return {
        "engine_alone_tokens_per_s": statistics.median(alone),
        "served": served,
        "ratios_of_rounds": ratios,
        "ratios": {name: statistics.median(each) for name, each in ratios.items()},
    }


def _added_ms(idle: LoadReport) -> float:
    """Median milliseconds that a call took beyond its forward."""
    added = [c - f for c, f in zip(idle.call_s, idle.forward_s, strict=True)]
    return 1e3 * statistics.median(added)


def assistant_header(config: EngineConfig) -> list[int]:
    """Ids that the chat template puts before a response."""
    encoder = ChatEncoder.load(config)
    user: Chat = [Message(role="user", content="x")]
    answered = encoder.encode((user, "y"))
    asked = encoder.encode(user)
    return [int(i) for i in answered.input_ids[asked.n_tokens : answered.prompt_len]]


def _alone(engine: Engine, calls: Sequence[Sequence[Encoding]]) -> float:
    """Tokens/s of the engine in this process on the same calls."""
    encoded = [engine.encoder.encode_all([e.input_ids for e in call]) for call in calls]
    sound = [[e for e in call if isinstance(e, Encoding)] for call in encoded]
    started = time.perf_counter()
    for call in sound:
        engine.score(call)
    return sum(map(workloads.n_tokens, sound)) / (time.perf_counter() - started)
