"""Ray session: one way for trainers, commands and scripts to join the Ray of a service.

Looked for in this order: the address given, RAY_ADDRESS, a service that `reward-cluster serve` runs
here, the Ray that `ray start` started here. That Ray itself is asked whether it requires a token,
so that nothing needs to be exported; if it cannot be joined, a one-line error says so within
seconds.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import grpc
import ray
from ray import serve

from cluster.errors import NotReady
from cluster.serving import service_registry as ray_services
from cluster.serving.names import APP

ANSWER_S = 5.0
"""Seconds within which a Ray must answer."""
REMEDY = "start one with `reward-cluster serve`, or name its Ray in RAY_ADDRESS"


def join(address: str | None = None, *, app: str | None = None, quiet: bool = False) -> None:
    """Join the Ray that runs a service, unless this process has joined one already.

    address: None or `auto` looks for one. app: prefer a service that has this application.
    quiet: keep workers' output and Ray's own log lines out of this process's output.
    Raises NotReady if there is none.
    """
    if ray.is_initialized():
        _check_same(address)
        return
    found = find_address(address, app)
    if not found.startswith("ray://"):
        use_auth_mode(auth_mode(found))
    options: dict[str, Any] = {}
    if quiet:
        options = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address=found, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise NotReady(f"the Ray at {found} cannot be joined: {error}") from None
    if quiet:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)


def require_app(app: str = APP) -> None:
    """Raises NotReady if the Ray that this process has joined has no application `app`.

    An application that is starting counts. Only a driver checks, because its user reads the error.
    """
    context: Any = ray.get_runtime_context()
    if context.worker.mode != ray.SCRIPT_MODE:
        return
    applications = serve.status().applications
    if app not in applications:
        there = ", ".join(applications) or "nothing"
        at = ray.get_runtime_context().gcs_address
        raise NotReady(f"no application {app!r} at {at}, which serves {there}; {REMEDY}")


def join_service(app: str, address: str | None = None) -> None:
    """Join the Ray that serves `app`, for a command. Raises NotReady, within seconds."""
    join(address, app=app, quiet=True)
    require_app(app)


def find_address(address: str | None = None, app: str | None = None) -> str:
    """Where to join, see the module. Raises NotReady."""
    given = address if address not in (None, "", "auto") else os.environ.get("RAY_ADDRESS")
    if given and given != "auto":
        return given
    every = ray_services.running()
    services = [entry for entry in every if app in entry.apps] or every
    if len(services) > 1:
        several = "; ".join(f"{entry}, RAY_ADDRESS={entry.address}" for entry in services)
        raise NotReady(f"several services run here, name one in RAY_ADDRESS: {several}")
    if services:
        return services[0].address
    return _started_here()


def auth_mode(address: str) -> str:
    """`token` or `disabled`: what the Ray at `address` requires. Raises NotReady if none
    answers."""
    _check_port_open(address)
    if _asks(address, []) != grpc.StatusCode.UNAUTHENTICATED:
        return "disabled"
    token = _token()
    if token is None:
        raise NotReady(
            f"the Ray at {address} requires a token and none was found here: copy "
            "~/.ray/auth_token of the user who started it, or set RAY_AUTH_TOKEN"
        )
    if _asks(address, [("authorization", f"Bearer {token}")]) == grpc.StatusCode.UNAUTHENTICATED:
        raise NotReady(
            f"the Ray at {address} refuses the token of this process (RAY_AUTH_TOKEN, "
            "RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token): it was started with another"
        )
    return "token"


def use_auth_mode(mode: str) -> None:
    """Set the mode for this process and its children, even after ray was imported."""
    from ray import _raylet

    if os.environ.get("RAY_AUTH_MODE") != mode:
        os.environ["RAY_AUTH_MODE"] = mode
        untyped: Any = _raylet
        untyped.Config.initialize("")
        _token_loader().reset_cache()


def _check_same(address: str | None) -> None:
    """Raises NotReady if this process has joined another Ray than the one asked for."""
    if address is None or address in ("", "auto") or address.startswith("ray://"):
        return
    _check_port_open(address)
    from ray._private import services

    untyped: Any = services
    here = ray.get_runtime_context().gcs_address
    if untyped.canonicalize_bootstrap_address(address) != here:
        raise NotReady(f"this process is in the Ray at {here} and cannot join {address} as well")


def _started_here() -> str:
    from ray._private import services

    untyped: Any = services
    latest = untyped.find_bootstrap_address(None)
    rays = sorted(untyped.find_gcs_addresses())
    if latest in rays:
        return str(latest)
    if len(rays) == 1:
        return str(rays[0])
    if rays:
        raise NotReady(f"several Rays run here, name one in RAY_ADDRESS: {', '.join(rays)}")
    raise NotReady(f"no Ray runs here; {REMEDY}")


def _token() -> str | None:
    loader = _token_loader()
    loader.reset_cache()
    if not loader.has_token(ignore_auth_mode=True):
        return None
    return str(loader.get_raw_token(ignore_auth_mode=True))


def _token_loader() -> Any:
    from ray import _raylet

    untyped: Any = _raylet
    return untyped.AuthenticationTokenLoader.instance()


def _check_port_open(address: str) -> None:
    """Raises NotReady if nothing listens there; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise NotReady(f"no Ray answers at {address!r}: {error}; {REMEDY}") from None


def _asks(address: str, metadata: list[tuple[str, str]]) -> grpc.StatusCode:
    """The status of the smallest possible call to a Ray, made with `metadata`. Raises NotReady."""
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2  # generated and untyped, both
    services: Any = gcs_service_pb2_grpc
    with _channel(address) as channel:
        stub = services.NodeInfoGcsServiceStub(channel)
        try:
            stub.CheckAlive(messages.CheckAliveRequest(), timeout=ANSWER_S, metadata=metadata)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            if code == grpc.StatusCode.UNAUTHENTICATED:
                return code
            raise NotReady(f"no Ray answers at {address!r}: {code.name}; {REMEDY}") from None
    return grpc.StatusCode.OK


def _channel(address: str) -> Any:
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(address)
    from ray._common import tls_utils

    load: Any = tls_utils.load_certs_from_env  # untyped
    chain, key, authority = load()
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority, key, chain))
