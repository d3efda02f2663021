"""Hop benchmark (`bench cluster --hops`): latency of an HTTP request to an idle service, by hop.

Chats go one at a time through a service that does nothing else, over one connection that stays
open, as a trainer's client keeps it. What HTTP adds is the client's time minus the engine's
forward.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cluster.bench import hardware, presets
from cluster.bench.cluster import VOCAB, Workload
from cluster.bench.hops import trace
from cluster.bench.hops.cpu_time import TITLES, cpu_seconds
from cluster.bench.hops.hops import hops, of_request, parse_stamps
from cluster.bench.http_client import free_port
from cluster.bench.service import preset_checkpoint, service
from cluster.config import ClusterConfig
from cluster.serving.client.async_http_client import AsyncHttpClient
from cluster.types import Encoding, Score

WARM_UP = 5
"""Requests that are not counted: the first ones fill caches and open connections."""
PAUSE_S = 0.02
"""Seconds between two requests, in which work left over from the first one can end."""


def bench_hops(
    preset: presets.Preset, n_requests: int, log: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure each hop over `n_requests` chats of a prompt (100 to 600 tokens) and a response.

    The result is ready for JSON.
    """
    with preset_checkpoint(preset) as (config, threads):
        stamps = Path(config.model, "stamps")
        chats = _chats(Workload.of(config, 8), WARM_UP + n_requests)
        port = free_port()
        options = {"ray_actor_options": {"num_cpus": threads}}
        traced = {
            "worker_process_setup_hook": f"{trace.__name__}.{trace.install.__name__}",
            "env_vars": {trace.FILE: str(stamps)},
        }
        with service(ClusterConfig(engine=config), options, http_port=port, runtime_env=traced):
            log(f"{n_requests} requests, one at a time")
            sent, cpu_s = asyncio.run(_requests(f"http://127.0.0.1:{port}", chats))
        return {
            "bench": "hops",
            "preset": preset,
            "machine": hardware.describe(torch.device("cpu")),
            "load_average": os.getloadavg()[0],
            "cpu_ms": {role: 1e3 * spent / n_requests for role, spent in cpu_s.items()},
            **_summary(stamps.read_text(), sent),
        }


def _chats(work: Workload, n: int) -> list[Encoding]:
    """`n` different chats."""
    versions = map(work.version, range(1, VOCAB))
    return [call[0] for _ in range(-(-n // len(work.calls))) for call in next(versions)][:n]


async def _requests(
    url: str, chats: Sequence[Encoding]
) -> tuple[list[tuple[int, int, float]], dict[str, float]]:
    """Per chat after the warm-up: when it was sent and answered, in nanoseconds, and the seconds of
    its forward. Then the seconds of CPU time that these took each process of the service."""
    async with AsyncHttpClient(url) as client:
        for chat in chats[:WARM_UP]:
            await _request(client, chat)
        before = cpu_seconds()
        times = [await _request(client, chat) for chat in chats[WARM_UP:]]
    after = cpu_seconds()
    return times, {role: after[role] - before[role] for role in TITLES}


async def _request(client: AsyncHttpClient, chat: Encoding) -> tuple[int, int, float]:
    sent = time.monotonic_ns()
    (score,) = await client.score([chat.input_ids], strict=True)
    received = time.monotonic_ns()
    assert isinstance(score, Score), "strict raises an error"
    await asyncio.sleep(PAUSE_S)
    return sent, received, score.forward_s


def _summary(text: str, sent: Sequence[tuple[int, int, float]]) -> dict[str, Any]:
    stamps = parse_stamps(text)
    requests = [of_request(stamps, start, end) for start, end, _ in sent]
    whole = [times for times in requests if times is not None]
    added = sorted((end - start) / 1e6 - 1e3 * forward_s for start, end, forward_s in sent)
    return {
        "requests": len(sent),
        "traced_whole": len(whole),
        "added_ms": statistics.median(added),
        "added_p90_ms": added[9 * len(added) // 10],
        "forward_ms": statistics.median(1e3 * forward_s for _, _, forward_s in sent),
        "hops": [asdict(hop) for hop in hops(whole)],
    }
