"""HTTP load client: calls through the ingress, as a trainer without Ray makes them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from cluster.bench.load_generator import Call
from cluster.serving.client.http_client import AsyncHttpClient
from cluster.types import Encoding


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_answering(ask: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Until `ask` raises no httpx error. Raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            ask()
            return
        except httpx.HTTPError:
            if time.monotonic() > end:
                raise TimeoutError("the server does not answer") from None
            time.sleep(0.2)


def http_caller(url: str) -> Call:
    """Calls `POST /v1/score` with token ids; a connection a call, as loops differ between loads."""

    async def call(encodings: Sequence[Encoding]) -> list[Any]:
        async with AsyncHttpClient(url) as client:
            return list(await client.score([e.input_ids for e in encodings]))

    return call
