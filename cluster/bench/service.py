"""Benchmark service: a local service for one benchmark, called through its actor client."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch

from cluster.bench import presets
from cluster.bench.load_generator import Call
from cluster.config import ClusterConfig, EngineConfig
from cluster.serving.deployment.local_cluster import local_service
from cluster.types import Encoding


@contextmanager
def service(
    config: ClusterConfig,
    replica_options: dict[str, Any],
    n_batchers: int = 1,
    http_port: int | None = None,
    runtime_env: Mapping[str, Any] | None = None,
) -> Iterator[Any]:
    """A local service, ready to score; yields its client actor.

    replica_options: of the Replica deployment.  http_port: on loopback; None serves no HTTP.
    runtime_env: Ray's, of every process.
    """
    with local_service(
        config,
        replica_options=replica_options,
        batcher_options={"num_replicas": n_batchers},
        http_port=http_port,
        runtime_env=runtime_env,
    ) as client:
        actor: Any = client
        ray.get(actor.ready.remote())
        yield actor


@contextmanager
def preset_checkpoint(preset: presets.Preset) -> Iterator[tuple[EngineConfig, int]]:
    """Yields the engine config of a checkpoint of the preset's shape, and how many threads to use.

    These are the torch threads of each process that computes, and are set in this one: all cores
    but one, which is left to the other processes. The checkpoint is deleted afterwards.
    """
    threads = max(1, (os.cpu_count() or 1) - 1)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        presets.save(preset, Path(folder))
        yield EngineConfig(model=folder, device="cpu", token_budget=8192), threads


def client_caller(client: Any) -> Call:
    """Calls through the actor client, with ids as arrays."""

    async def call(encodings: Sequence[Encoding]) -> list[Any]:
        answers: list[Any] = await client.score.remote([e.input_ids for e in encodings])
        return answers

    return call
