"""Deployment of a checked config file, waited for until it serves or fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import ray
from ray import serve
from ray.serve.config import gRPCOptions
from ray.serve.schema import ApplicationStatus, DeploymentSchema, ServeDeploySchema

from cluster.errors import ConfigError, NotReady
from cluster.serving.deployment.serve_config import own_apps
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.names import DRAINING, INGRESS, REPLICA

FAILED = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)


def check_resources(schema: ServeDeploySchema) -> None:
    """Raises ConfigError if a replica asks for more GPUs than any node has, unless the app says
    that GPUs may join (replica.gpus_may_join)."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    most = max((node["Resources"].get("GPU", 0) for node in nodes), default=0)
    for app, config in own_apps(schema):
        for deployment in app.deployments:
            if config.replica.gpus_may_join:
                continue
            block = deployment.model_dump(exclude_unset=True)
            wanted = (block.get("ray_actor_options") or {}).get("num_gpus") or 0
            if deployment.name == REPLICA and wanted > most:
                raise ConfigError(
                    f"a replica asks for {wanted:g} GPU and the largest node has {most:g}: it "
                    "would stay pending. Run `ray start` on a GPU machine first, set "
                    "replica.gpus_may_join if an autoscaler adds one, or serve on the CPU: "
                    "`reward-cluster serve --local`"
                )


def with_keys(schema: ServeDeploySchema) -> tuple[ServeDeploySchema, str]:
    """`schema` with the API keys that this process reads, as digests for each Ingress; and who may
    call, in words. Raises ConfigError for a key source without a key."""
    schema, words = schema.model_copy(deep=True), []
    for app, config in own_apps(schema):
        block = next((d for d in app.deployments if d.name == INGRESS), None)
        if block is None:
            block = DeploymentSchema(name=INGRESS)
            app.deployments.append(block)
        keys = KeyRing.from_user_config(_given_user_config(block), config.http)
        block.user_config = keys.user_config()
        words.append(str(keys))
    return schema, ", ".join(dict.fromkeys(words))


def draining(schema: ServeDeploySchema) -> ServeDeploySchema:
    """`schema` with an HTTP side that accepts nothing new; see `Ingress.reconfigure`."""
    schema = schema.model_copy(deep=True)
    for app, _ in own_apps(schema):
        for block in app.deployments:
            if block.name == INGRESS:
                block.user_config = _given_user_config(block) | {DRAINING: True}
    return schema


def _given_user_config(block: DeploymentSchema) -> dict[str, Any]:
    return block.model_dump(exclude_unset=True).get("user_config") or {}


def deploy(schema: ServeDeploySchema) -> None:
    """Hand the config to Serve, which starts or updates what differs. Returns at once."""
    serve.start(
        proxy_location=schema.proxy_location,
        http_options=schema.http_options.model_dump(),
        grpc_options=gRPCOptions(**schema.grpc_options.model_dump()),
        logging_config=schema.logging_config,
    )
    client: Any = serve.context._get_global_client()
    client.deploy_apps(schema, _blocking=False)


def wait_until_running(schema: ServeDeploySchema, timeout_s: float) -> Iterator[str]:
    """Yields a line whenever a state changes, until every app runs.

    Raises ConfigError with Serve's message if one cannot run, NotReady after `timeout_s`.
    """
    names, told, end = [app.name for app in schema.applications], "", time.monotonic() + timeout_s
    while True:
        found = serve.status().applications
        apps = {name: found[name] for name in names if name in found}
        for name, app in apps.items():
            if app.status in FAILED:
                raise ConfigError(f"application {name!r} cannot be served:\n{_reason(app.message)}")
        line = ", ".join(f"{name} {app.status.value}" for name, app in apps.items())
        if line != told:
            told = line
            yield line
        if len(apps) == len(names) and all(
            app.status == ApplicationStatus.RUNNING for app in apps.values()
        ):
            return
        if time.monotonic() > end:
            raise NotReady(f"not running after {timeout_s:g} s: {line}; `serve status` says more")
        time.sleep(0.2)


def _reason(message: str) -> str:
    """The project's own error at the end of a traceback, or the whole message."""
    _, sign, own = message.rpartition("cluster.errors.")
    return own.strip() if sign else message
