"""HTTP load client: calls through the ingress, as a trainer without Ray makes them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from cluster.bench.load_generator import Call
from cluster.serving.client.http_client import AsyncHttpClient
from cluster.types import Encoding


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def http_caller(url: str) -> Call:
    """Calls `POST /v1/score` with token ids; a connection a call, as loops differ between loads."""

    async def call(encodings: Sequence[Encoding]) -> list[Any]:
        async with AsyncHttpClient(url) as client:
            return list(await client.score([e.input_ids for e in encodings]))

    return call
