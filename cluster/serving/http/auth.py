"""Bearer keys. Every key is compared, in constant time, whatever matched before.

Knows nothing of users or rights: a key opens the service or does not.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cluster.config import HttpConfig
from cluster.errors import ConfigError, Unauthorized

VARIABLE = "REWARD_CLUSTER_KEYS"
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def load_keys(config: HttpConfig, environment: Mapping[str, str] = os.environ) -> list[bytes]:
    """The keys of the file, or else of the environment; none means that no key is needed.

    Raises ConfigError for a file that cannot be read or holds no key: a lock that was meant and
    does not lock must not go unnoticed.
    """
    if config.keys_file is None:
        return _keys(environment.get(VARIABLE, "").split(","))
    try:
        lines = Path(config.keys_file).read_text().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"http.keys_file {config.keys_file!r} cannot be read: {error}") from None
    keys = _keys(lines)
    if not keys:
        raise ConfigError(f"http.keys_file {config.keys_file!r} holds no key; put one on a line")
    return keys


def require_key(keys: Sequence[bytes]) -> Callable[..., Awaitable[None]]:
    """A dependency that raises Unauthorized unless the request carries one of `keys`."""

    async def check(credentials: Credentials) -> None:
        if keys and not _matches(credentials, keys):
            raise Unauthorized("send one of the service's keys: `Authorization: Bearer <key>`")

    return check


def _matches(credentials: HTTPAuthorizationCredentials | None, keys: Sequence[bytes]) -> bool:
    given = credentials.credentials.encode() if credentials else b""
    found = False
    for key in keys:
        found |= hmac.compare_digest(key, given)
    return found


def _keys(texts: Sequence[str]) -> list[bytes]:
    return [text.strip().encode() for text in texts if text.strip()]
