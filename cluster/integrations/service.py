"""Reward service of an integration: the actor client inside a Ray job, HTTP elsewhere.

A trainer's hook is called by processes that its user did not start, so a service that is not given
in code is looked for in this order: REWARD_CLUSTER_URL; the Ray that the process is in, where it
serves the application REWARD_CLUSTER_APP (`reward`); a service at port 8000 of this machine. The
key of a service by HTTP is in REWARD_API_KEY. Nothing is connected before the first call.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any

from cluster.data.rewards import Failed, rewards_of
from cluster.errors import NotReady, RewardError
from cluster.serving.client.async_http_client import AsyncHttpClient
from cluster.serving.client.coalescer import Coalescer
from cluster.serving.client.http_client import PATIENCE_S, URL, HttpClient
from cluster.serving.names import APP
from cluster.types import Conversation, Score

URL_VARIABLE = "REWARD_CLUSTER_URL"
APP_VARIABLE = "REWARD_CLUSTER_APP"
KEY_VARIABLE = "REWARD_API_KEY"
Results = list[Score | RewardError]


class HookService:
    """The service that a hook calls. Pickles as its arguments, so that every process connects for
    itself.

    url, key: a service over HTTP, whatever Ray the process is in.  app: a Serve application of the
    Ray that the process is in.
    """

    def __init__(
        self, url: str | None = None, app: str | None = None, key: str | None = None
    ) -> None:
        self._asked = (url, app, key)
        self._connecting = threading.Lock()
        self._call: Callable[[Sequence[Conversation]], Results] | None = None
        self._async_call: Callable[[Sequence[Conversation]], Awaitable[Results]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._asked

    def score(self, conversations: Sequence[Conversation]) -> Results:
        """The score or the error of each, in order.

        Raises NotReady if no service is found, or none answers for PATIENCE_S seconds.
        """
        if self._call is None:
            self._call = self._connected()
        return self._call(conversations)

    async def score_async(self, conversations: Sequence[Conversation]) -> Results:
        """As `score`, for asyncio; from any event loop."""
        call = self._async_call
        if call is None:
            call = await asyncio.to_thread(self._connect_async)
        return await call(conversations)

    def rewards(
        self, conversations: Sequence[Conversation], failed: Failed = "raise"
    ) -> list[float | None]:
        """The rewards of `score`, see `rewards_of`."""
        return rewards_of(self.score(conversations), failed)

    async def rewards_async(
        self, conversations: Sequence[Conversation], failed: Failed = "raise"
    ) -> list[float | None]:
        """The rewards of `score_async`, see `rewards_of`."""
        return rewards_of(await self.score_async(conversations), failed)

    def _connected(self) -> Callable[[Sequence[Conversation]], Results]:
        url, app, key = self._found()
        if url is not None:
            return HttpClient(url, key).score
        from cluster.serving.client.connect import RewardService

        service = RewardService(app)
        return lambda conversations: service.score(conversations, deadline_s=PATIENCE_S)

    def _connect_async(self) -> Callable[[Sequence[Conversation]], Awaitable[Results]]:
        """Once, whatever the number of calls that come first; takes seconds."""
        with self._connecting:
            if self._async_call is None:
                self._async_call = self._connected_async()
            return self._async_call

    def _connected_async(self) -> Callable[[Sequence[Conversation]], Awaitable[Results]]:
        url, app, key = self._found()
        if url is not None:
            return _PerLoop(url, key).score
        from cluster.serving.client.async_service import AsyncRewardService

        service = AsyncRewardService(app)
        return lambda conversations: service.score(conversations, deadline_s=PATIENCE_S)

    def _found(self) -> tuple[str | None, str, str | None]:
        """The URL or None, the application, the key."""
        url, app, key = self._asked
        key = key or os.environ.get(KEY_VARIABLE)
        if not url and not app:
            url = os.environ.get(URL_VARIABLE)
        found = app or os.environ.get(APP_VARIABLE) or APP
        if url or app or serves(found):
            return url or None, found, key
        with HttpClient(URL, key) as here:
            if not here.ready():
                raise NotReady(
                    f"no reward service found: this process is in no Ray that serves {found!r}, "
                    f"and none answers at {URL}; start one with `reward-cluster serve`, or say "
                    f"where it is in {URL_VARIABLE} (and its key in {KEY_VARIABLE})"
                )
        return URL, found, key


class _PerLoop:
    """One client per event loop, as connections belong to a loop; it is open only while calls are
    running, since nothing announces the end of a loop. Calls of one sample go out together."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url, self._key = url, key
        self._open: dict[Any, tuple[AsyncHttpClient, Coalescer, int]] = {}

    async def score(self, conversations: Sequence[Conversation]) -> Results:
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            client = AsyncHttpClient(self._url, self._key)
            self._open[loop] = client, Coalescer(client.score), 0
        client, coalescer, n_calls = self._open[loop]
        self._open[loop] = client, coalescer, n_calls + 1
        try:
            return await coalescer.score(conversations)
        finally:
            _, _, n_calls = self._open.pop(loop)
            if n_calls > 1:
                self._open[loop] = client, coalescer, n_calls - 1
            else:
                await client.close()


def serves(app: str) -> bool:
    """Whether this process is in a Ray that has the application. Imports no Ray of its own."""
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    from ray import serve

    return app in serve.status().applications


@cache
def hook_service(
    url: str | None = None, app: str | None = None, key: str | None = None
) -> HookService:
    """The `HookService` of these arguments, one per process, for hooks that are plain functions
    called for each sample."""
    return HookService(url, app, key)
