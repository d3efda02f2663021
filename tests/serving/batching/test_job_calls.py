"""Calls of finished jobs are dropped, others are not."""

from __future__ import annotations

import asyncio

import pytest

from cluster.errors import Cancelled
from cluster.serving.batching import job_calls
from cluster.serving.batching.job_calls import JobCalls
from cluster.serving.batching.pending_requests import PendingCall
from cluster.serving.protocol import ItemResult, Source

pytestmark = pytest.mark.usefixtures("virtual_time")

SCORED = ItemResult(1.0, 0.0, 0.0, Source("m", "r1", "invariant"))


async def wait_for(calls: JobCalls, job: str | None, call: PendingCall) -> PendingCall:
    """As the batcher waits for a call."""
    with calls.running(job, call):
        async with asyncio.timeout(30):
            async for _ in call.parts():
                pass
    return call


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_calls, "SWEEP_S", 0.001)


def test_the_calls_of_a_finished_job_end_and_those_of_others_go_on() -> None:
    async def run() -> None:
        calls = JobCalls(lambda: {"gone", "long gone"})
        half, whole, alive, nobody = (PendingCall(n, None) for n in (2, 1, 1, 1))
        half.put(0, SCORED)
        others = [
            asyncio.create_task(wait_for(calls, job, call))
            for job, call in (("alive", alive), (None, nobody))
        ]
        await asyncio.gather(wait_for(calls, "gone", half), wait_for(calls, "gone", whole))
        assert half.results[0] is SCORED, "what was scored stays"
        assert isinstance(half.results[1], Cancelled)
        assert isinstance(whole.results[0], Cancelled)
        assert alive.results == nobody.results == [None]
        for call in (alive, nobody):
            call.put(0, SCORED)
        await asyncio.gather(*others)

    asyncio.run(run())


def test_a_sweep_that_fails_is_repeated_and_the_next_job_is_swept_as_well() -> None:
    answers: list[set[str]] = [set(), {"first"}, {"second"}]
    n_asked = 0

    def finished() -> set[str]:
        nonlocal n_asked
        n_asked += 1
        if n_asked == 1:
            raise ConnectionError("no head node now")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def run() -> None:
        calls = JobCalls(finished)
        for job in ("first", "second"):
            call = await wait_for(calls, job, PendingCall(1, None))
            assert isinstance(call.results[0], Cancelled)
            await asyncio.sleep(0.05)  # nothing runs: the sweep ends, and begins anew

    asyncio.run(run())
    assert n_asked >= 4
