"""Address of a service, as users type it."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from cluster.errors import ConfigError


def service_url(given: str) -> str:
    """`host:port`, with or without http:// or https:// and a path, as a URL without a slash at its
    end. Raises ConfigError."""
    url = (given if "://" in given else f"http://{given}").rstrip("/")
    try:
        found = urlsplit(url)
        sound = found.scheme in ("http", "https") and found.hostname and found.port != 0
    except ValueError:
        sound = None
    if not sound or any(map(str.isspace, url)):
        raise ConfigError(
            f"{given!r} is no address of a service; give one such as http://host:8000"
        )
    return url


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for `url`."""
    found = urlsplit(url)
    if proxy_bypass(found.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    return proxies.get(found.scheme) or proxies.get("all")
