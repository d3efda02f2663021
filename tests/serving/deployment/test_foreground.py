"""Who may have the port of a service."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing

import pytest
from ray.serve.schema import ServeDeploySchema
from support.ports import free_port

from cluster.errors import ConfigError
from cluster.serving.deployment.foreground import port_held

HOST = "127.0.0.1"
AS_SERVER = (socket.SO_REUSEADDR,)
AS_PROXY = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
"""What Serve's proxies set."""


def at(port: int) -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(
        {"http_options": {"host": HOST, "port": port}, "applications": []}
    )


def listener(port: int, options: Sequence[int]) -> socket.socket:
    made = socket.socket()
    for option in options:
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    made.bind((HOST, port))
    made.listen()
    return made


def leave_a_connection_behind(port: int, options: Sequence[int]) -> None:
    """A server ends and its last connection lingers, in TIME_WAIT on its side."""
    with listener(port, options) as server:
        caller = socket.create_connection((HOST, port))
        accepted, _ = server.accept()
        accepted.close()
        assert caller.recv(1) == b""
        caller.close()


@pytest.mark.parametrize("options", [AS_SERVER, AS_PROXY])
def test_a_lingering_connection_of_the_past_is_no_server(options: Sequence[int]) -> None:
    port = free_port()
    leave_a_connection_behind(port, options)
    with port_held(at(port)), closing(listener(port, AS_PROXY)):
        pass


@pytest.mark.parametrize("options", [AS_SERVER, AS_PROXY])
def test_a_port_where_somebody_serves_is_refused(options: Sequence[int]) -> None:
    port = free_port()
    with (
        closing(listener(port, options)),
        pytest.raises(ConfigError, match="cannot be used"),
        port_held(at(port)),
    ):
        pass


def test_a_second_service_is_refused_while_the_first_still_starts() -> None:
    port = free_port()
    leave_a_connection_behind(port, AS_SERVER)
    with (
        port_held(at(port)),
        pytest.raises(ConfigError, match="cannot be used"),
        port_held(at(port)),
    ):
        pass
    with port_held(at(port)):
        pass
