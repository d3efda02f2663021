"""HTTP requests whose head and body are sent at once, in one piece."""

from __future__ import annotations

import json
import socket
from http.client import parse_headers
from typing import Any, BinaryIO

from support.serving import PATIENCE_S


def post(port: int, path: str, body: Any, chunked: bool = False) -> tuple[int, Any]:
    """The status and the JSON of the answer. chunked: as a body of unknown length."""
    (answer,) = posts(port, [request(path, json.dumps(body).encode(), chunked)])
    return answer


def posts(port: int, requests: list[bytes]) -> list[tuple[int, Any]]:
    """The answers to requests that are sent all at once over one connection, in order."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"".join(requests))
        with connection.makefile("rb") as stream:
            return [_answer(stream) for _ in requests]


def request(path: str, body: bytes, chunked: bool = False) -> bytes:
    """Of one POST."""
    if chunked:
        length, body = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        length = b"Content-Length: %d" % len(body)
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json" % path.encode()
    return b"%b\r\n%b\r\n\r\n%b" % (head, length, body)


def _answer(stream: BinaryIO) -> tuple[int, Any]:
    status = int(stream.readline().split()[1])
    headers = parse_headers(stream)
    return status, json.loads(stream.read(int(headers["content-length"])))
