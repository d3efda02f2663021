"""The way to a service: addresses, keys, proxies and certificates, for both HTTP clients."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.http import FakeScorer
from support.http_clients import Scored, scored_async
from support.http_server import behaving, listening

from cluster.config import EngineConfig, HttpConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import ConfigError, NotReady
from cluster.serving.client.address import Address
from cluster.serving.client.async_http_client import AsyncHttpClient
from cluster.serving.client.http_client import HttpClient
from cluster.serving.http.app import build_http_app
from cluster.types import Score

CHAT = ("Hi", "Hello!")
KEY = "a-key-of-this-test"
ELSEWHERE = "gpu-7.invalid"
WRONG = (
    *("", "http://", "ftp://gpu-7", "two words", "h..x:80", "h\x7f:8", "http://xn--:80", "h" * 64),
    *("gpu-7?", "gpu-7#x", "gpu-7:port", "gpu-7:0", "gpu-7:65536"),
)


@pytest.mark.parametrize("client", [HttpClient, AsyncHttpClient])
def test_an_address_is_checked_before_anything_is_sent(client: Any) -> None:
    assert client("gpu-7:8000/").url == "http://gpu-7:8000"
    assert client("HTTPS://GPU-7/rewards").url == "https://gpu-7/rewards"
    assert client("gpu-7/my%20rewards").url == "http://gpu-7/my%20rewards"
    assert client("[::1]:8000").url == "http://[::1]:8000"
    for given in WRONG:
        with pytest.raises(ConfigError, match="http://host:8000"):
            client(given)
    for given in ("http://user:secret@gpu-7", "http://user:secret@gpu-7:port"):
        with pytest.raises(ConfigError) as refused:
            client(given)
        assert "secret" not in str(refused.value)


def test_an_address_that_only_aiohttp_refuses_is_not_asked_again_and_again() -> None:
    with pytest.raises(ConfigError, match="no address that aiohttp takes"):
        scored_async([CHAT], "127.1:9")


def test_a_key_may_end_in_a_line_break_and_is_not_shown_where_it_is_wrong() -> None:
    assert Address.of("gpu-7", f"{KEY}\n").headers["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in Address.of("gpu-7", "").headers
    for key in ("two\nlines", "schlüssel"):
        with pytest.raises(ConfigError, match="no HTTP header") as refused:
            Address.of("gpu-7", key)
        assert key not in str(refused.value)


def test_proxies_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:3128")
    monkeypatch.setenv("NO_PROXY", "gpu-8,gpu-9:80,::1")
    for near in ("gpu-8:8000", "gpu-9:80", "[::1]:8000", "https://gpu-7"):
        assert Address.of(near, None).proxy is None
    assert str(Address.of("gpu-7", None).proxy) == "http://proxy:3128"
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    assert str(Address.of("gpu-7", None).proxy) == "http://proxy:3128"
    with pytest.raises(ConfigError, match="NO_PROXY=gpu-7"):
        Address.of("https://gpu-7", None)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_learns_no_key_and_its_password_is_not_told(
    scored: Scored, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

    with behaving(refuse) as port:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:pass-word@127.0.0.1:{port}")
        with pytest.raises(NotReady, match=ELSEWHERE) as refused:
            scored([CHAT], f"{scheme}://{ELSEWHERE}:8000", key=KEY, patience_s=0.0)
    assert "pass-word" not in str(refused.value)
    [head] = asked
    own = [line for line in head.splitlines() if line.lower().startswith(b"proxy-authorization:")]
    assert [line.split()[1] for line in own] == [b"Basic"]
    assert (KEY.encode() in head) == (scheme == "http")  # which the service itself must read


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    public, private = folder / "certificate.pem", folder / "key.pem"
    pem = serialization.Encoding.PEM
    public.write_bytes(made.public_bytes(pem))
    bare = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, bare))
    return public, private


@pytest.fixture(scope="module")
def secure_port(certificate: tuple[Path, Path]) -> Iterator[int]:
    scorer = FakeScorer(ChatEncoder.load(EngineConfig(model="tiny")))
    public, private = map(str, certificate)
    app = build_http_app(scorer, HttpConfig())
    with listening(app, ssl_certfile=public, ssl_keyfile=private) as (_, port):
        yield port


def test_an_https_service_is_believed_only_with_its_certificate(
    scored: Scored,
    secure_port: int,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for scheme in ("https", "HTTPS"):
        with pytest.raises(NotReady, match=r"(?i)certificate"):
            scored([CHAT], f"{scheme}://localhost:{secure_port}", patience_s=0.0)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    [one] = scored([CHAT], f"https://localhost:{secure_port}", key=KEY)
    assert isinstance(one, Score)
