"""Address of a service: its URL and key as users give them, and the way there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass

import httpx

from cluster.errors import ConfigError

PORTS = {"http": 80, "https": 443}
"""Of the schemes of an address."""


@dataclass(frozen=True, slots=True)
class Address:
    """url: without a slash at its end. headers: with the key. proxy: None if there is none."""

    url: str
    headers: dict[str, str]
    proxy: httpx.URL | None

    @classmethod
    def of(cls, given: str, key: str | None) -> Address:
        """given: `host:port`, with or without http:// or https://, and maybe a path. The proxy is
        that of HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY. Raises ConfigError."""
        url = _url(given)
        return cls(str(url).rstrip("/"), _headers(key), _proxy(url))

    def certificates(self) -> ssl.SSLContext | None:
        """What an https service is checked with; None for others, as loading them takes longer than
        a call."""
        return httpx.create_ssl_context() if self.url.startswith("https:") else None


def _url(given: str) -> httpx.URL:
    try:
        url = httpx.URL(given if "://" in given else f"http://{given}")
        url.raw_host.decode().encode("idna")  # as every resolver does
        port = PORTS.get(url.scheme, 0) if url.port is None else url.port
        sound = url.scheme in PORTS and url.host and 0 < port < 2**16
        sound = sound and "%" not in url.host and not {"?", "#"} & set(given)
    except (httpx.InvalidURL, UnicodeError):
        sound = False
    if sound and url.userinfo:
        raise ConfigError("an address holds no user and password; an API key is given by itself")
    if not sound:
        shown = given.rpartition("@")[2]  # before it a password may stand
        raise ConfigError(f"{shown!r} is no address of a service; give one like http://host:8000")
    return url


def _headers(key: str | None) -> dict[str, str]:
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("the API key has characters that no HTTP header can carry")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _proxy(url: httpx.URL) -> httpx.URL | None:
    if proxy_bypass(url.host) or proxy_bypass(f"{url.host}:{url.port or PORTS[url.scheme]}"):
        return None
    proxies = getproxies()
    given = proxies.get(url.scheme) or proxies.get("all")
    if given is None:
        return None
    try:
        proxy = httpx.URL(given if "://" in given else f"http://{given}")
    except httpx.InvalidURL:
        proxy = None
    if proxy is None or proxy.scheme not in PORTS:
        raise ConfigError(
            f"the proxy that the environment names for {url.scheme} is no HTTP proxy; name one, or "
            f"except the service: NO_PROXY={url.host}"
        )
    return proxy
