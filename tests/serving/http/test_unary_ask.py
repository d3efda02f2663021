"""A proxy asks an Ingress in one call where it can, and counts the end of each once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import ActorDiedError
from ray.serve._private.common import RequestMetadata, RequestProtocol
from ray.serve.request_router import PendingRequest
from support.serving import PATIENCE_S

from cluster.serving.http.unary_answer import ABILITY, MAX_TRIES, METHOD, UNKNOWN, ask

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]


class StandIn:
    """For an Ingress: it answers, fails, ends or never answers, as the request says."""

    async def handle_request(self, metadata: bytes, how: str) -> str:
        if how == "fail":
            raise ValueError(how)
        if how == "die":
            os._exit(1)
        if how == "wait":
            await asyncio.Event().wait()
        return how


@pytest.fixture
def ingress(ray_cluster: Cluster) -> Iterator[Any]:
    make: Any = ray.remote(StandIn)
    made = make.options(num_cpus=0).remote()
    yield made
    ray.kill(made)


async def request(how: str = "answer", method: str = "POST", **changes: Any) -> Any:
    """As Serve makes it in the task of an HTTP request."""
    METHOD.set(method)
    protocol: dict[str, Any] = {
        "is_streaming": True,
        "_request_protocol": RequestProtocol.HTTP,
    } | changes
    metadata = RequestMetadata(request_id="r", internal_request_id="i", **protocol)
    return PendingRequest(args=[how], kwargs={}, metadata=metadata)


async def until_told(told: list[Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not told:
            await asyncio.sleep(0.01)


@pytest.mark.ray
@pytest.mark.parametrize("how", ["answer", "fail", "die", "wait"])
def test_the_end_of_a_call_is_counted_once_however_it_ends(ingress: Any, how: str) -> None:
    async def main() -> None:
        told: list[Any] = []
        answer: Any = ask(ingress, ABILITY, await request(how), told.append)
        response = asyncio.create_task(answer.get_rejection_response())
        if how == "wait":
            await asyncio.sleep(0)
            response.cancel()
            answer.cancel()
        end: Any = (await asyncio.gather(response, return_exceptions=True))[0]
        await until_told(told)
        answer.add_done_callback(told.append)  # Serve's, once a call is accepted
        await asyncio.sleep(0)
        assert len(told) == 1
        assert isinstance(end, ActorDiedError) == (how == "die")
        if how in ("answer", "fail"):
            assert (end.accepted, end.num_ongoing_requests) == (True, UNKNOWN)
        if how == "answer":
            assert await anext(answer) == "answer"
            with pytest.raises(StopAsyncIteration):
                await anext(answer)
        if how == "fail":
            with pytest.raises(ValueError, match="fail"):
                await anext(answer)

    asyncio.run(main())


@pytest.mark.ray
def test_the_last_try_ends_with_the_death_that_the_caller_is_told(ingress: Any) -> None:
    async def main() -> None:
        asked = await request("die")
        for _ in range(MAX_TRIES - 1):
            answer: Any = ask(ingress, ABILITY, asked, lambda _: None)
            with pytest.raises(ActorDiedError):
                await answer.get_rejection_response()
        answer = ask(ingress, ABILITY, asked, lambda _: None)
        assert (await answer.get_rejection_response()).accepted
        with pytest.raises(ActorDiedError):
            await anext(answer)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("able", "changes"),
    [
        (ABILITY, {"method": ""}),
        ({}, {}),
        ({"unary_answer": 0}, {}),
        (ABILITY, {"_by_reference": False}),
        (ABILITY, {"_request_protocol": RequestProtocol.UNDEFINED}),
    ],
)
def test_whatever_cannot_go_in_one_call_is_left_to_serve(
    able: dict[str, int], changes: dict[str, Any]
) -> None:
    async def main() -> Any:
        return ask(None, able, await request(**changes), lambda _: None)

    assert asyncio.run(main()) is None
