"""HTTP client of a reward service, for asyncio.

With aiohttp, as the CPU time that httpx takes for a call grows with the calls under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp

from cluster.errors import ConfigError, RewardError
from cluster.serving.client.address import Address
from cluster.serving.client.answer import Answer
from cluster.serving.client.http_client import CONNECT_S, PATIENCE_S, URL
from cluster.serving.client.score_call import HEADERS, PATH, ScoreCall
from cluster.serving.scoring.transformed import Transforms
from cluster.types import Conversation, Score

CLOSE_S = 1.0
"""Seconds in which connections may end in good order."""
WHOLE_BYTES = 2**20
"""aiohttp warns of bodies that are larger and written at once."""


class AsyncHttpClient:
    """As `HttpClient`, for one event loop at a time; any number of calls at once. Connections are
    closed by `async with AsyncHttpClient(url) as client`, by `close`, or when the client is
    garbage-collected while its loop runs."""

    def __init__(
        self,
        url: str = URL,
        key: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """As `HttpClient`."""
        self._address = Address.of(url, key)
        self.url = self._address.url
        self._options = _options(self._address)
        self._patience_s, self._pause = patience_s, pause
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[asyncio.Transport] = set()
        self._closed = False

    async def score(
        self,
        conversations: Sequence[Conversation],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
        transforms: Transforms = (),
    ) -> list[Score | RewardError]:
        """As `HttpClient.score`. Raises RuntimeError once closed, and in a second event loop while
        the first one runs."""
        terms = priority, deadline_s, transforms
        call = ScoreCall(self.url, conversations, self._patience_s, *terms)
        while (body := call.next_body()) is not None:
            try:
                async with asyncio.timeout(call.limit_s):
                    answer = await self._post(body)
                call.take(answer)
            except aiohttp.InvalidURL as error:
                raise ConfigError(f"{self.url} is no address that aiohttp takes") from error
            except (aiohttp.ClientError, TimeoutError) as error:
                call.failed(error)
            if call.pause_s:
                await self._pause(call.pause_s)
        return call.results(strict)

    async def close(self) -> None:
        """For good: calls that are under way end with a RuntimeError."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            for transport in list(self._under_way):
                transport.abort()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await session.close()

    async def __aenter__(self) -> AsyncHttpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        try:
            self._drop()
        except Exception:  # the interpreter may be ending
            return

    async def _post(self, body: bytes) -> Answer:
        data = body if len(body) < WHOLE_BYTES else io.BytesIO(body)
        async with self._opened().post(f"{self.url}{PATH}", data=data, **self._options) as answer:
            return Answer(answer.status, await answer.read(), answer.headers.get("Retry-After"))

    def _opened(self) -> aiohttp.ClientSession:
        """The connections, which belong to the event loop that runs."""
        if self._closed:
            raise RuntimeError("this AsyncHttpClient has been closed; make another one")
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None and self._loop.is_running():
            raise RuntimeError("an AsyncHttpClient serves one event loop; make one for each")
        if self._session is None or self._loop is not loop:
            self._drop()
            certificates = self._address.certificates() or True
            self._loop = loop
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_S),
                response_class=_aborting(self._under_way),
                connector=aiohttp.TCPConnector(limit=0, ssl=certificates),
            )
        return self._session

    def _drop(self) -> None:
        """Close connections without waiting for their ends, as where nothing can be awaited."""
        session, self._session = self._session, None
        if session is None or self._loop is None:
            return
        closing = session.close()
        if not (self._loop.is_running() or self._loop.is_closed() or _in_a_loop()):
            self._loop.run_until_complete(closing)
            return
        with contextlib.suppress(StopIteration):
            closing.send(None)
        closing.close()


def _aborting(under_way: set[asyncio.Transport]) -> type[aiohttp.ClientResponse]:
    """Responses whose connections end at once when they are given up; a connection that is closed
    waits until the body has been sent. under_way: of those that are waited for."""

    class Response(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            transport = connection.transport
            under_way.add(transport)
            try:
                return await super().start(connection)
            except BaseException:
                transport.abort()
                raise
            finally:
                under_way.discard(transport)

    return Response


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _options(address: Address) -> dict[str, Any]:
    """Of every request. The key is none of the session's, which would send it to the proxy as well;
    followed to another place, a redirect would take it there."""
    headers = HEADERS | address.headers
    options: dict[str, Any] = {"headers": headers, "allow_redirects": False}
    if proxy := address.proxy:
        options["proxy"] = str(proxy.copy_with(userinfo=b""))
        if proxy.userinfo:
            login = b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
            # Sent as Proxy-Authorization.
            options["proxy_headers"] = {"Authorization": f"Basic {login}"}
    return options
