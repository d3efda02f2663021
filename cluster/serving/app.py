"""Serve application: replicas behind a batcher behind an HTTP ingress.

`serve run serve_config.yaml` calls `build` with the config's `args`. Each part lives in its own
module; here are only the deployment options that the design depends on. Replica counts, autoscaling
and HTTP ports belong to Serve's own sections of the YAML.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve._private.constants import RAY_SERVE_ENABLE_HA_PROXY
from ray.serve.exceptions import RayServeException

from cluster.config import ClusterConfig
from cluster.errors import ConfigError, RewardError
from cluster.serving.batching.batcher import Batcher
from cluster.serving.config_checks import check_config
from cluster.serving.http.api_keys import KeyRing, load_keys
from cluster.serving.http.ingress import Ingress
from cluster.serving.names import BATCHER, INGRESS, REPLICA
from cluster.serving.replica.backends import BackendFactory, backend_factory
from cluster.serving.replica.replica import Replica
from cluster.serving.serve_run import end_waiting_command
from cluster.settings.parsing import parse_config

logger = logging.getLogger("ray.serve.reward_cluster")

UNASKED: dict[str, Any] = {
    "request_router_class": "cluster.serving.replica.router:RosterRouter",
    "initial_backoff_s": 0.01,
    "max_backoff_s": 0.1,
}
"""Of what is called without asking first; see `RosterRouter`."""

ONE_LOOP = {
    "runtime_env": {
        "env_vars": {
            "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
            "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        }
    }
}
"""Serve's own code on the event loop of ours, which blocks it for tens of milliseconds at most:
each way between two processes takes two changes of thread less."""

REPLICA_OPTIONS: dict[str, Any] = {
    # A batcher keeps two batches on a replica; the rest is room for probes and for the batches of
    # another batcher, old or new.
    "max_ongoing_requests": 100,
    "health_check_period_s": 2,
    "health_check_timeout_s": 30,
    # A model that cannot be loaded is reported at once, not retried for minutes.
    "max_constructor_retry_count": 3,
    # Longer than two batches; a draining replica finishes what it holds.
    "graceful_shutdown_timeout_s": 60,
    "graceful_shutdown_wait_loop_s": 0.5,
    "request_router_config": UNASKED,
}
BATCHER_OPTIONS: dict[str, Any] = {
    # Calls wait inside the batcher, whose scheduler refuses by tokens.
    "max_ongoing_requests": 100_000,
    "request_router_config": UNASKED,
    "health_check_period_s": 1,
    # A batcher that is well answers at once; after three failed checks it is replaced.
    "health_check_timeout_s": 10,
    "graceful_shutdown_timeout_s": 60,
    "graceful_shutdown_wait_loop_s": 0.5,
    # It computes nothing; on a small machine it must not take a replica's core.
    "ray_actor_options": {"num_cpus": 0},
}
INGRESS_OPTIONS: dict[str, Any] = {
    # The app itself limits what is scored (http.max_requests) and never refuses a probe.
    "max_ongoing_requests": 100_000,
    "health_check_period_s": 2,
    "health_check_timeout_s": 10,
    "graceful_shutdown_timeout_s": 60,
    "graceful_shutdown_wait_loop_s": 0.5,
    "ray_actor_options": {"num_cpus": 0},
}
IN_ONE_CALL: dict[str, Any] = {
    "request_router_class": "cluster.serving.http.ingress_router:IngressRouter"
}
"""For the Ingress, but where HAProxy stands in for Serve's proxy: Serve refuses it there."""
DRAIN_S = 10.0
"""Seconds beyond the longest request for its answer to be sent."""

QUIET = {"enable_access_log": False}
"""An access log line for each of thousands of batches says less than the metrics."""


def build(args: Mapping[str, Any]) -> Application:
    """The application for `serve run`. Raises RayServeException with the remedy before anything
    starts: it is the only exception whose message Serve shows plainly; any other is retried four
    times and shown as tracebacks. Ends a `serve run` that waits for the application."""
    try:
        # A deployment's own logging_config would silence the config file's, encoding included.
        return assemble(parse_config(ClusterConfig, args), logging_config=None)
    except RewardError as error:
        reason = f"{error} [{error.code}]"
        end_waiting_command(reason)
        raise RayServeException(reason) from None


def assemble(
    config: ClusterConfig,
    *,
    make_backend: BackendFactory | None = None,
    replica_options: Mapping[str, Any] | None = None,
    batcher_options: Mapping[str, Any] | None = None,
    logging_config: Mapping[str, Any] | None = QUIET,
) -> Application:
    """As `build`, for Python callers: with another backend or other deployment options.

    logging_config: Serve's, for every deployment; None keeps the application's.
    """
    check_config(config)
    factory = make_backend or backend_factory(config.replica.backend, config.replica.fake_gpu)
    engine = config.engine
    quiet = {"logging_config": logging_config} if logging_config else {}
    options = {
        **REPLICA_OPTIONS,
        "user_config": {"model": engine.model, "revision": engine.revision},
        "ray_actor_options": {"num_gpus": gpus_a_replica(config)},
        **quiet,
        **(replica_options or {}),
    }
    replicas = _deployment(Replica, REPLICA, options).bind(
        engine, factory, config.replica.stuck_after_s
    )
    options = {**BATCHER_OPTIONS, **quiet, **(batcher_options or {})}
    batcher = _deployment(Batcher, BATCHER, options).bind(replicas, config)
    options = {**ingress_options(config), **quiet}
    return _deployment(Ingress, INGRESS, options).bind(batcher, config)


def ingress_options(config: ClusterConfig) -> dict[str, Any]:
    """A draining Ingress finishes the longest request that it may hold."""
    longest_s = config.http.deadline_s + DRAIN_S
    return {
        **INGRESS_OPTIONS,
        **({} if RAY_SERVE_ENABLE_HA_PROXY else {"request_router_config": IN_ONE_CALL}),
        "graceful_shutdown_timeout_s": longest_s,
        # Serve calls `reconfigure` with it.
        "user_config": _keys_read_here(config),
    }


def _keys_read_here(config: ClusterConfig) -> dict[str, Any]:
    """The API keys found where the application is built, the same for every Ingress.

    `deploy` replaces them with those of its own process. A key source that holds no key here is
    left to the Ingress, which refuses to start with it.
    """
    try:
        return dict(KeyRing.of(load_keys(config.http)).user_config())
    except ConfigError:
        return {}


def _deployment(cls: type, name: str, options: Mapping[str, Any]) -> serve.Deployment:
    actor = {**ONE_LOOP, **options["ray_actor_options"]}
    made: serve.Deployment = serve.deployment(name=name, **{**options, "ray_actor_options": actor})(
        cls
    )
    return made


def gpus_a_replica(config: ClusterConfig) -> int:
    """GPUs per replica. Raises ConfigError rather than leaving a replica pending forever."""
    device = config.engine.device
    if config.replica.backend == "sleep" or device == "cpu":
        return 0
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if resources.get("GPU", 0) >= 1 or config.replica.gpus_may_join:
        return 1
    if device == "auto":
        logger.warning("no GPU in the cluster: replicas run on the CPU (engine.device: auto)")
        return 0
    raise ConfigError(
        f"engine.device is {device!r} but no node of the Ray cluster has a GPU. Add one with `ray "
        "start` on a GPU machine, set replica.gpus_may_join if an autoscaler adds one, or "
        "serve on the CPU: `reward-cluster serve --local`, or engine.device: cpu and no num_gpus "
        "in the Replica deployment"
    )
