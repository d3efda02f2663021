"""Benchmark service: a service of the benchmark's own, called through its actor client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from cluster.bench.load_generator import Call
from cluster.config import ClusterConfig
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
    """A local service whose client can score; yields the client actor. runtime_env: Ray's."""
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


def client_caller(client: Any) -> Call:
    """Calls through the Ray actor client, ids as arrays."""

    async def call(encodings: Sequence[Encoding]) -> list[Any]:
        answers: list[Any] = await client.score.remote([e.input_ids for e in encodings])
        return answers

    return call
