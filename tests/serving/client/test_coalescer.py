"""Concurrent calls go out together, and each caller gets its own results or its own error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from support.http import made_score

from cluster.errors import InvalidInput, NotReady, RewardError, TooLong
from cluster.serving.client.coalescer import Coalescer
from cluster.types import Conversation, Score


class Service:
    """Scores a text as its length, at once or when `opened`; keeps what it is asked, by size."""

    def __init__(self, shut: bool = False) -> None:
        self.sizes: list[int] = []
        self.opened = asyncio.Event()
        if not shut:
            self.opened.set()

    async def ask(self, texts: Sequence[Conversation]) -> list[Score | RewardError]:
        self.sizes.append(len(texts))
        await self.opened.wait()
        if "refused" in texts:
            raise TooLong("the body")
        if "down" in texts:
            raise NotReady("nobody")
        if "broken" in texts:
            raise ZeroDivisionError
        return [InvalidInput("empty") if text == "" else made_score(len(text)) for text in texts]


def rewards(results: Sequence[Any]) -> list[Any]:
    return [r.reward if isinstance(r, Score) else (r.code, r.item) for r in results]


def test_calls_of_one_moment_are_one_body_each_with_its_own_results() -> None:
    async def main() -> None:
        service = Service()
        calls = [["a", ""], [], ["abc"], ["", "ab"]]
        ask = Coalescer(service.ask).score
        found = await asyncio.gather(*[ask(call) for call in calls])
        assert service.sizes == [5]
        assert [rewards(one) for one in found] == [
            [1, ("invalid_input", 1)],
            [],
            [3],
            [("invalid_input", 0), 2],
        ]

    asyncio.run(main())


def test_what_comes_while_all_are_under_way_goes_out_together() -> None:
    async def main() -> None:
        service = Service(shut=True)
        coalescer = Coalescer(service.ask, under_way=2, max_items=8)
        tasks = []
        for n in range(20):
            tasks.append(asyncio.create_task(coalescer.score(["x" * n])))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert service.sizes == [1, 1]
        service.opened.set()
        found = await asyncio.gather(*tasks)
        assert [rewards(one) for one in found] == [
            [n] if n else [("invalid_input", 0)] for n in range(20)
        ]
        assert service.sizes == [1, 1, 8, 8, 2]

    asyncio.run(main())


@pytest.mark.parametrize(("text", "error"), [("refused", TooLong), ("down", NotReady)])
def test_an_error_of_one_call_is_not_that_of_its_neighbours(
    text: str, error: type[RewardError]
) -> None:
    async def main() -> None:
        calls = [["a"], [text], ["ab"]]
        coalescer = Coalescer(Service().ask)
        asked = [coalescer.score(call) for call in calls]
        first, second, third = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(second, error)
        assert isinstance(first, list)
        assert isinstance(third, list)
        assert [rewards(first), rewards(third)] == [[1], [2]]

    asyncio.run(main())


def test_an_unexpected_error_reaches_every_caller() -> None:
    async def main() -> None:
        coalescer = Coalescer(Service().ask)
        found = await asyncio.gather(
            coalescer.score(["a"]), coalescer.score(["broken"]), return_exceptions=True
        )
        assert all(isinstance(one, ZeroDivisionError) for one in found)

    asyncio.run(main())


def test_a_cancelled_call_is_not_sent() -> None:
    async def main() -> None:
        service = Service(shut=True)
        coalescer = Coalescer(service.ask, under_way=1)
        first = asyncio.create_task(coalescer.score(["a"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone, kept = (asyncio.create_task(coalescer.score([text])) for text in ("bb", "ccc"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        service.opened.set()
        assert rewards(await kept) == [3]
        assert rewards(await first) == [1]
        assert service.sizes == [1, 1]

    asyncio.run(main())
