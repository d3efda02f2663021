"""Local cluster: a whole service on this machine with its own Ray.

For the demo, the benchmarks and tests. Never joins or stops another Ray on the machine.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from cluster.config import ClusterConfig
from cluster.serving.app import assemble
from cluster.serving.client.connect import RewardClient, connect
from cluster.serving.http.proxy_errors import set_proxy_errors
from cluster.serving.names import APP
from cluster.serving.replica.backends import BackendFactory

if TYPE_CHECKING:
    from ray.actor import ActorHandle


@contextmanager
def local_service(
    config: ClusterConfig,
    *,
    make_backend: BackendFactory | None = None,
    replica_options: Mapping[str, Any] | None = None,
    batcher_options: Mapping[str, Any] | None = None,
    http_port: int | None = None,
    verbose: bool = False,
    runtime_env: Mapping[str, Any] | None = None,
) -> Iterator[ActorHandle[RewardClient]]:
    """Start Ray, the application and a client actor; yields the client once it can score.

    replica_options: of the Replica deployment; by default one replica with all cores.
    http_port: on loopback; None serves no HTTP. runtime_env: of every process, see Ray.
    """
    options = {"ray_actor_options": {"num_cpus": os.cpu_count() or 1}, **(replica_options or {})}
    with local_ray(verbose=verbose, http_port=http_port, runtime_env=runtime_env):
        app = assemble(
            config,
            make_backend=make_backend,
            replica_options=options,
            batcher_options=batcher_options,
        )
        serve.run(app, name=APP, route_prefix=None if http_port is None else "/")
        yield connect(APP, detached=False)


@contextmanager
def local_ray(
    *, verbose: bool = False, http_port: int | None = None, **options: Any
) -> Iterator[None]:
    """A new Ray instance with Serve in it, without a dashboard."""
    level = logging.INFO if verbose else logging.ERROR
    set_proxy_errors()
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=verbose,
        logging_level=level,
        **options,
    )
    try:
        with _serve_logger(level):
            if http_port is None:
                serve.start(proxy_location="Disabled")
            else:
                serve.start(http_options={"host": "127.0.0.1", "port": http_port})
            yield
    finally:
        ray.shutdown()


@contextmanager
def _serve_logger(level: int) -> Iterator[None]:
    """Serve reconfigures its logger for good; this restores it for a process that outlives the
    service."""
    logger = logging.getLogger("ray.serve")
    before = logger.level, logger.propagate, logger.handlers[:]
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logger.handlers[:] = before[2]
