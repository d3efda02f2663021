"""Both HTTP clients of a service, called in one way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from cluster.errors import RewardError
from cluster.serving.client.async_http_client import AsyncHttpClient
from cluster.serving.client.http_client import HttpClient
from cluster.types import Conversation, Score

Results = list[Score | RewardError]
Scored = Callable[..., Results]
"""scored(conversations, url, **options of client and call)"""
OF_THE_CLIENT = ("key", "patience_s", "pause")


def scored(conversations: Sequence[Conversation], url: str, **options: Any) -> Results:
    """One call of an HttpClient of its own."""
    of_client = {name: options.pop(name) for name in OF_THE_CLIENT if name in options}
    with HttpClient(url, **of_client) as client:
        return client.score(conversations, **options)


def scored_async(
    conversations: Sequence[Conversation],
    url: str,
    pause: Callable[[float], object] | None = None,
    **options: Any,
) -> Results:
    """One call of an AsyncHttpClient of its own, in an event loop of its own."""
    of_client = {name: options.pop(name) for name in OF_THE_CLIENT if name in options}
    if pause is not None:

        async def paused(seconds: float) -> None:
            pause(seconds)

        of_client["pause"] = paused

    async def main() -> Results:
        async with AsyncHttpClient(url, **of_client) as client:
            return await client.score(conversations, **options)

    return asyncio.run(main())


BOTH = {"sync": scored, "async": scored_async}
