"""Request ids: the caller's if short and printable, else generated."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

from starlette.datastructures import Headers

HEADER = "X-Request-Id"
_SOUND = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def sound_id(headers: Headers) -> str:
    """The caller's id, or a new one if the caller's cannot be logged and echoed safely."""
    given = headers.get(HEADER, "")
    return given if _SOUND.fullmatch(given) else uuid.uuid4().hex


def with_id(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """ASGI headers with exactly one request id, this one."""
    name = HEADER.lower().encode()
    return [(key, value) for key, value in headers if key.lower() != name] + [
        (name, request_id.encode())
    ]
