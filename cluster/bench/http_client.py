"""HTTP load client: calls through the ingress, as a trainer without Ray makes them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import httpx

from cluster.bench.load_generator import Call
from cluster.types import Encoding, Score


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def http_caller(url: str) -> Call:
    """Calls `POST /v1/score` with token ids; a connection a call, as loops differ between loads."""

    async def call(encodings: Sequence[Encoding]) -> list[Any]:
        body = {"conversations": [{"ids": e.input_ids.tolist()} for e in encodings]}
        # No TLS here: to load its certificates for each connection would take longer than a call.
        async with httpx.AsyncClient(base_url=url, timeout=600, verify=False) as client:
            response = await client.post("/v1/score", json=body)
        return [_score(entry) for entry in response.raise_for_status().json()["results"]]

    return call


def _score(entry: dict[str, Any]) -> Any:
    """The entry's Score, or the entry itself where it is an error."""
    names = Score.__dataclass_fields__
    return Score(**{k: entry[k] for k in names}) if "reward" in entry else entry
