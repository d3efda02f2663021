"""The app behind a real server on loopback: what only bytes on a wire can do."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from support.http import FakeScorer
from support.http_server import listening

from cluster.config import HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.http.app import build_http_app

GOOD = json.dumps({"conversations": [{"ids": [1, 2]}]}).encode()
HEAD = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def address(encoder: ChatEncoder) -> Iterator[tuple[str, int]]:
    with listening(build_http_app(FakeScorer(encoder), HttpConfig(max_body_bytes=10_000))) as at:
        yield at


def exchange(address: tuple[str, int], *parts: bytes, close: bool = False) -> bytes:
    """Send `parts`; the whole answer until the server closes, nothing if we `close` first."""
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        for part in parts:
            connection.sendall(part)
        if close:
            return b""
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def alive(address: tuple[str, int]) -> bool:
    url = f"http://{address[0]}:{address[1]}/v1/score"
    return httpx.post(url, content=GOOD, timeout=TIMEOUT_S).status_code == 200


def test_a_body_in_slow_pieces_is_scored(address: tuple[str, int]) -> None:
    head = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(GOOD)
    answer = exchange(address, head, *(GOOD[i : i + 5] for i in range(0, len(GOOD), 5)))
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_chunked_body_over_the_limit_is_a_413_before_it_ends(address: tuple[str, int]) -> None:
    head = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"1000\r\n" + b" " * 4096 + b"\r\n"
    answer = exchange(address, head, piece, piece, piece)  # no last chunk: the body never ends
    assert answer.startswith(b"HTTP/1.1 413")
    assert alive(address)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 99999999\r\n", b"413"),
        (b"Content-Length: nonsense\r\n", b"400"),
        (b"Content-Length: -5\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\n", b"400"),
    ],
)
def test_headers_that_lie_about_the_body_are_refused(
    address: tuple[str, int], head: bytes, status: bytes
) -> None:
    answer = exchange(address, HEAD + head + b"Connection: close\r\n\r\nnot a chunk\r\n\r\n")
    assert answer.split(b" ")[1] == status
    assert alive(address)


@pytest.mark.parametrize("noise", [b"\x00\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"{}\r\n\r\n"])
def test_what_is_no_http_is_a_400(address: tuple[str, int], noise: bytes) -> None:
    assert exchange(address, noise).split(b" ")[1] == b"400"
    assert alive(address)


def test_clients_that_vanish_in_mid_request_do_no_harm(address: tuple[str, int]) -> None:
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD)
    for n in range(0, len(head) + len(GOOD), 7):
        exchange(address, (head + GOOD)[:n], close=True)
    assert alive(address)
