"""HTTP load client: calls to the Ingress, as a trainer without Ray makes them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from cluster.bench.load_generator import Call
from cluster.serving.client.async_http_client import AsyncHttpClient
from cluster.types import Encoding


def free_port() -> int:
    """A TCP port of the loopback interface on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_answering(ask: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Call `ask` until it raises no httpx error. Raises TimeoutError after `timeout_s` seconds."""
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
    """Calls `POST /v1/score` with token ids; those of one event loop share connections."""
    client = AsyncHttpClient(url)

    async def call(encodings: Sequence[Encoding]) -> list[Any]:
        return list(await client.score([e.input_ids for e in encodings]))

    return call
