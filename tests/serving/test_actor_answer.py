"""The answer of an actor call on the event loop: once for the caller, once for whoever counts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import ActorDiedError, RayTaskError, TaskCancelledError
from ray.serve._private.common import RequestMetadata
from support.serving import PATIENCE_S

from cluster.errors import InvalidInput
from cluster.serving.actor_answer import ActorAnswer

pytestmark = pytest.mark.ray
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

METADATA = RequestMetadata(request_id="r", internal_request_id="i")


class Answering:
    async def value(self) -> bytes:
        return b"answer"

    async def error(self) -> None:
        raise InvalidInput("bad")

    async def never(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture(scope="module")
def actor(ray_cluster: Cluster) -> Iterator[Any]:
    make: Any = ray.remote(Answering)
    made = make.options(num_cpus=0).remote()
    yield made
    ray.kill(made)


def told(call: Callable[[], Any], then: Callable[[ActorAnswer], Any]) -> tuple[Any, list[Any]]:
    """What `then` returns of the call's answer, and what two callbacks were told by its end."""

    async def main() -> tuple[Any, list[Any]]:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        answer = ActorAnswer(call(), METADATA)
        for _ in range(2):
            answer.add_done_callback(heard.put_nowait)
        result = await then(answer)
        async with asyncio.timeout(PATIENCE_S):
            return result, [await heard.get() for _ in range(2)]

    return asyncio.run(main())


def test_a_value_is_read_as_often_as_it_is_asked_for(actor: Any) -> None:
    async def twice(answer: ActorAnswer) -> list[Any]:
        return [await answer.get_async(), await answer.get_async()]

    assert told(actor.value.remote, twice) == ([b"answer"] * 2, [b"answer"] * 2)


def test_an_error_is_the_callees_own(actor: Any) -> None:
    async def failing(answer: ActorAnswer) -> None:
        with pytest.raises(InvalidInput, match="bad"):
            await answer.get_async()

    _, heard = told(actor.error.remote, failing)
    assert all(isinstance(each, RayTaskError) for each in heard)


def test_a_waiter_that_leaves_takes_the_answer_from_nobody(actor: Any) -> None:
    async def leaving(answer: ActorAnswer) -> Any:
        waiter = asyncio.create_task(answer.get_async())
        await asyncio.sleep(0)
        waiter.cancel()
        return await answer.get_async()

    assert told(actor.value.remote, leaving)[0] == b"answer"


def test_a_cancelled_call_is_cancelled_for_who_waits(actor: Any) -> None:
    async def cancelled(answer: ActorAnswer) -> None:
        cancel: Any = answer.cancel
        cancel()
        with pytest.raises(asyncio.CancelledError):
            await answer.get_async()

    _, heard = told(actor.never.remote, cancelled)
    for each in heard:  # a call that ran is told as its task's error
        error = each.as_instanceof_cause() if isinstance(each, RayTaskError) else each  # type: ignore[no-untyped-call]
        assert isinstance(error, TaskCancelledError)


def test_the_death_of_the_process_is_told_to_all(actor: Any) -> None:
    make: Any = ray.remote(Answering)
    dying = make.options(num_cpus=0).remote()
    ray.get(dying.value.remote())

    async def dead(answer: ActorAnswer) -> None:
        ray.kill(dying)
        with pytest.raises(ActorDiedError):
            await answer.get_async()

    _, heard = told(dying.never.remote, dead)
    assert all(isinstance(each, ActorDiedError) for each in heard)


def test_another_event_loop_may_wait_as_well(actor: Any) -> None:
    async def elsewhere(answer: ActorAnswer) -> Any:
        return await asyncio.to_thread(asyncio.run, answer.get_async())

    assert told(actor.value.remote, elsewhere)[0] == b"answer"
