"""HTTP client of a reward service, for asyncio.

With aiohttp: at 128 calls at a time, httpx takes ten times the CPU time per call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import httpx

from cluster.errors import RewardError
from cluster.serving.client.http_client import CONNECT_S, JSON, PATIENCE_S, URL
from cluster.serving.client.score_call import PATH, Answer, ScoreCall
from cluster.serving.client.service_url import environment_proxy, service_url
from cluster.serving.scoring.transformed import Transforms
from cluster.types import Conversation, Score


class AsyncHttpClient:
    """As `HttpClient`, for one event loop at a time; any number of calls at once. Connections are
    closed by `async with AsyncHttpClient(url) as client`, by `close`, or when the client is
    garbage-collected."""

    def __init__(
        self,
        url: str = URL,
        key: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """As `HttpClient`. Proxies and certificates are taken from the environment."""
        self.url = service_url(url)
        self._headers = JSON if key is None else {**JSON, "Authorization": f"Bearer {key}"}
        self._proxy = environment_proxy(self.url)
        self._patience_s, self._pause = patience_s, pause
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def score(
        self,
        conversations: Sequence[Conversation],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
        transforms: Transforms = (),
    ) -> list[Score | RewardError]:
        """As `HttpClient.score`."""
        terms = priority, deadline_s, transforms
        call = ScoreCall(self.url, conversations, self._patience_s, *terms)
        while (body := call.next_body()) is not None:
            try:
                call.take(await self._post(body))
            except (aiohttp.ClientError, TimeoutError) as error:
                call.failed(error)
            if call.pause_s:
                await self._pause(call.pause_s)
        return call.results(strict)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> AsyncHttpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter may be ending
            self._drop()

    async def _post(self, body: bytes) -> Answer:
        # Followed to another place, a redirect would take the key there.
        options: dict[str, Any] = {"allow_redirects": False, "proxy": self._proxy}
        async with self._opened().post(f"{self.url}{PATH}", data=body, **options) as answer:
            return Answer(answer.status, await answer.read(), answer.headers.get("Retry-After"))

    def _opened(self) -> aiohttp.ClientSession:
        """The connections, which belong to the event loop that runs."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            self._drop()
            limits = aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=self._patience_s)
            certificates = httpx.create_ssl_context() if self.url.startswith("https") else True
            self._loop, self._session = (
                loop,
                aiohttp.ClientSession(
                    headers=self._headers,
                    timeout=limits,
                    connector=aiohttp.TCPConnector(limit=0, ssl=certificates),
                ),
            )
        return self._session

    def _drop(self) -> None:
        """Close connections without waiting for their ends, as where nothing can be awaited."""
        session, self._session = self._session, None
        if session is not None:
            closing = session.close()
            with contextlib.suppress(StopIteration):
                closing.send(None)
            closing.close()
