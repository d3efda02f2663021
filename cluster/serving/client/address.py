"""Address of a service: its URL and key as users give them, and the way there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass

import httpx

from cluster.errors import ConfigError

WEB = ("http", "https")


@dataclass(frozen=True, slots=True)
class Address:
    """url: without a slash at its end. headers: of every request. proxy: None if there is none."""

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
        sound = url.scheme in WEB and url.host and not {"%", "?", "#"} & {*url.host, *given}
        sound = sound and (url.port is None or 0 < url.port < 2**16)
    except (httpx.InvalidURL, UnicodeError):
        sound = False
    if sound and url.userinfo:
        raise ConfigError("an address holds no user and password; an API key is given by itself")
    if not sound:
        shown = given.rpartition("@")[2]  # before it a password may stand
        raise ConfigError(f"{shown!r} is no address of a service; give one like http://host:8000")
    return url


def _headers(key: str | None) -> dict[str, str]:
    headers, key = {"Content-Type": "application/json"}, (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("the API key has characters that no HTTP header can carry")
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers


def _proxy(url: httpx.URL) -> httpx.URL | None:
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    if proxy_bypass(url.host) or proxy_bypass(f"{url.host}:{port}"):
        return None
    proxies = getproxies()
    given = proxies.get(url.scheme) or proxies.get("all")
    if given is None:
        return None
    try:
        proxy = httpx.URL(given if "://" in given else f"http://{given}")
    except httpx.InvalidURL:
        proxy = None
    if proxy is None or proxy.scheme not in WEB:
        raise ConfigError(
            f"the proxy that the environment names for {url.scheme} is no HTTP proxy; name one, or "
            f"except the service: NO_PROXY={url.host}"
        )
    return proxy
