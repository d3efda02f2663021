"""Who may call what is under `/v1`: the holder of a key and, without keys, no foreign web page.

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
from cluster.serving.http.keys import KeyRing

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def require_key(keys: KeyRing) -> Callable[..., Awaitable[None]]:
    """A dependency that raises Unauthorized unless the request carries one of `keys`.

    Without keys it refuses what a browser sends for a page of another machine: such a page reaches
    a service on loopback although its author cannot.
    """

    async def check(request: Request, credentials: Credentials) -> None:
        given = credentials.credentials.encode() if credentials else b""
        if not keys.opens(given):
            raise Unauthorized("send one of the service's keys: `Authorization: Bearer <key>`")
        if not keys and not _own_page(request.headers.get("origin")):
            raise Unauthorized(
                "a web page of another host may not use a service that has no keys; "
                "give it keys, see http.keys_file"
            )

    return check


def _own_page(origin: str | None) -> bool:
    """Whether the request comes from no page, or from one of this machine."""
    if origin is None:
        return True
    try:
        return urlsplit(origin).hostname in LOOPBACK
    except ValueError:
        return False
