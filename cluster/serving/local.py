"""A whole service on this machine alone: its own Ray, started here and ended here.

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
from cluster.serving.backends import BackendFactory
from cluster.serving.client import RewardClient, connect
from cluster.serving.names import APP

if TYPE_CHECKING:
    from ray.actor import ActorHandle


@contextmanager
def local_service(
    config: ClusterConfig,
    *,
    make_backend: BackendFactory | None = None,
    replica_options: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> Iterator[ActorHandle[RewardClient]]:
    """Start Ray, the application and a client actor; yields the client once it can score.

    replica_options: of the Replica deployment; one replica with all cores unless they say more.
    """
    options = {"ray_actor_options": {"num_cpus": os.cpu_count() or 1}, **(replica_options or {})}
    with local_ray(verbose=verbose):
        app = assemble(config, make_backend=make_backend, replica_options=options)
        serve.run(app, name=APP, route_prefix=None)
        yield connect(APP, detached=False)


@contextmanager
def local_ray(*, verbose: bool = False, **options: Any) -> Iterator[None]:
    """A Ray instance of one's own with Serve in it, without HTTP and dashboard."""
    level = logging.INFO if verbose else logging.ERROR
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=verbose,
        logging_level=level,
        **options,
    )
    logging.getLogger("ray.serve").setLevel(level)
    try:
        serve.start(proxy_location="Disabled")
        yield
    finally:
        ray.shutdown()
