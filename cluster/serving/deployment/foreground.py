"""Foreground service (`reward-cluster serve`): deploy, wait, drain, end.

With its own Ray everything ends with the command. On a Ray that it joined the service keeps
running, as after `serve deploy`. The command says which of the two it is.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.serve.schema import ServeDeploySchema

from cluster.errors import ConfigError
from cluster.serving import ray_session, service_registry
from cluster.serving.deployment.deploy import check_resources, deploy, wait_until_running, with_keys
from cluster.serving.deployment.draining import drain
from cluster.serving.http.proxy_errors import set_proxy_errors

Say = Callable[[str], None]


def serve_until_signalled(
    schema: ServeDeploySchema, address: str, timeout_s: float, drain_s: float, say: Say
) -> None:
    """Serve `schema` on a new Ray (`local`) or on the one at `address` until SIGINT or SIGTERM.

    drain_s: seconds for accepted work to be answered; a second signal ends at once.
    Raises ConfigError or NotReady if it cannot be served.
    """
    schema, access = with_keys(schema)
    with contextlib.ExitStack() as stack:
        own = address == "local"
        if own:
            stack.enter_context(port_held(schema))
            set_proxy_errors()
            ray.init(address="local", include_dashboard=False)
        else:
            ray_session.join(address)
            check_http_options(schema)
        stack.callback(ray.shutdown)
        stack.enter_context(_signals_interrupt())
        check_resources(schema)
        deploy(schema)
        for line in wait_until_running(schema, timeout_s):
            say(line)
        at = ray.get_runtime_context().gcs_address
        say(f"Serving {_where(schema)}, {access}, Ray at {at}. {_how_it_ends(schema, own)}")
        if own:
            names = [app.name for app in schema.applications]
            stack.enter_context(service_registry.announced(at, names, _url(schema)))
        with contextlib.suppress(KeyboardInterrupt):
            _wait_for_signal()
        if own:
            limit = f"up to {drain_s:g} s"
            say(f"Finishing accepted requests ({limit}); press Ctrl-C again to stop now.")
            with contextlib.suppress(KeyboardInterrupt):
                if left := drain(schema, drain_s):
                    say(f"Stopped after {drain_s:g} s with this unanswered: {left}.")


@contextmanager
def port_held(schema: ServeDeploySchema) -> Iterator[None]:
    """No other service can bind the file's host and port while the block runs.

    Serve's proxies share their port with any process that asks for it, so a second service would
    get every other request of the first. Raises ConfigError if the port is taken.
    """
    if schema.proxy_location == "Disabled":
        yield
        return
    host, port = schema.http_options.host, schema.http_options.port
    try:
        held = bound_alone(host, port)
    except OSError as error:
        raise ConfigError(
            f"port {port} of {host} cannot be used ({error.strerror}); end what serves there, or "
            "give another by --port or http_options.port"
        ) from None
    with held:
        yield


def bound_alone(host: str, port: int) -> socket.socket:
    """A socket next to which only Serve's proxies can bind. Raises OSError."""
    family, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(at)
    held = socket.socket(family)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as the proxies have
        # Past the connections of a server that has ended, which linger for a minute. Only while it
        # binds: two sockets that have this one and do not listen yet may share a port.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(at)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        held.close()
        raise
    return held


def check_http_options(schema: ServeDeploySchema) -> None:
    """Raises ConfigError if a Serve that is already running would ignore the file's host or
    port."""
    client: Any = serve.context._get_global_client(raise_if_no_controller_running=False)
    if client is None or schema.proxy_location == "Disabled":
        return
    running, wanted = client.http_config, schema.http_options
    if (running.host, running.port) != (wanted.host, wanted.port):
        raise ConfigError(
            f"Serve runs on this Ray already, at {running.host}:{running.port}, and would ignore "
            f"http_options {wanted.host}:{wanted.port}; give the same, or `serve shutdown` first"
        )


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Treats SIGTERM like SIGINT: KeyboardInterrupt. Ray's own handler would end without cleaning
    up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {s: signal.signal(s, interrupt) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except KeyboardInterrupt:
        pass  # while it was starting
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until_signalled() -> None:
    """Return at SIGINT or SIGTERM."""
    with _signals_interrupt():
        _wait_for_signal()


def _wait_for_signal() -> None:
    while True:
        signal.pause()  # also returns for signals that Python code handles


def _url(schema: ServeDeploySchema) -> str | None:
    if schema.proxy_location == "Disabled":
        return None
    host = schema.http_options.host
    return f"http://{f'[{host}]' if ':' in host else host}:{schema.http_options.port}"


def _where(schema: ServeDeploySchema) -> str:
    url = _url(schema)
    return "actor handles alone, without HTTP" if url is None else f"on {url}"


def _how_it_ends(schema: ServeDeploySchema, own: bool) -> str:
    if own:
        return "Ctrl-C ends it."
    return "It keeps running after this command exits; stop it with `serve shutdown`."
