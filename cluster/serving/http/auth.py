"""Authorization under `/v1`: a key, or without keys a guard against foreign web pages.

Knows nothing of users or rights: a key opens the service or does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cluster.errors import Unauthorized
from cluster.serving.config_checks import LOOPBACK
from cluster.serving.http.api_keys import KeyRing

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def require_key(keys: KeyRing, open_to_network: bool) -> Callable[..., Awaitable[None]]:
    """A dependency that raises Unauthorized unless the request carries one of `keys`.

    Without keys it refuses what a browser sends for a page of another machine: such a page can
    reach a service on loopback although its author cannot, even under a host name of its own that
    resolves to loopback (DNS rebinding). open_to_network: any host name is accepted.
    """

    async def check(request: Request, credentials: Credentials) -> None:
        given = credentials.credentials.encode() if credentials else b""
        if not keys.opens(given):
            raise Unauthorized("send one of the service's keys: `Authorization: Bearer <key>`")
        if keys:
            return
        origin, host = request.headers.get("origin"), request.headers.get("host")
        if origin is not None and not _is_here(origin):
            raise Unauthorized(
                "a service without keys answers no web page of another host; "
                "configure http.keys_file"
            )
        if not (open_to_network or host is None or _is_here(f"//{host}")):
            raise Unauthorized(
                "a service without keys answers only requests to localhost; "
                "configure http.keys_file or set http.open_to_network"
            )

    return check


def _is_here(url: str) -> bool:
    """Whether the host of `url` is this machine itself."""
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False
