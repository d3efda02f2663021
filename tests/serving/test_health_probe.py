"""Probes: one that hangs costs its own answer only, and many askers cost one probe."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from support.virtual_time import hold_up

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.errors import NotReady
from cluster.serving.health_probe import ModelProbe, each_answer, every_answer
from cluster.serving.protocol import ServedModel
from cluster.serving.replica.backends import SleepBackend

pytestmark = pytest.mark.usefixtures("virtual_time")

CONFIG = EngineConfig(model="m", revision="r1")
SERVED = ServedModel(SleepBackend(CONFIG, FakeGpuConfig()).info, CONFIG)


class Result:
    """One replica's answer. delay_s: None is never."""

    def __init__(self, answer: Any, delay_s: float | None = 0.0, turns: int = 0) -> None:
        """turns: of the asker's event loop, before it sees the answer."""
        self._answer = answer
        self._delay_s = delay_s
        self._turns = turns

    async def get_async(self) -> Any:
        if self._delay_s is None:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        await asyncio.sleep(self._delay_s)
        for _ in range(self._turns):
            await asyncio.sleep(0)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Handle:
    """A Serve handle, as far as a probe uses it."""

    def __init__(self, *results: Result) -> None:
        self._results = list(results)
        self.n_broadcasts = 0

    def broadcast(self, method: str) -> Handle:
        self.n_broadcasts += 1
        return self

    async def _fetch_replica_results_async(self) -> list[Result]:
        return self._results


def test_the_answers_of_those_that_are_well_come_though_one_hangs() -> None:
    async def run() -> list[Any]:
        handle = Handle(Result("a", None), Result("b"), Result("c", 0.01))
        return [answer async for answer in each_answer(handle, "info", 0.1)]

    assert asyncio.run(run()) == ["b", "c"]


def test_one_that_hangs_and_one_that_fails_are_counted_as_silent() -> None:
    async def run() -> list[Any]:
        failed = Result(ActorDiedError())
        handle = Handle(Result("a", None), Result("b"), failed, Result("c", 0.01))
        return await every_answer(handle, "info", 0.1)

    assert asyncio.run(run()) == [None, "b", None, "c"]


def test_where_nobody_knows_which_processes_run_that_is_a_silence_too() -> None:
    class Unknown(Handle):
        async def _fetch_replica_results_async(self) -> list[Result]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    assert asyncio.run(every_answer(Unknown(), "info", 0.1)) == [None]
    assert asyncio.run(every_answer(Handle(), "info", 0.1)) == []


def test_readiness_does_not_wait_for_one_that_hangs() -> None:
    async def run() -> None:
        probe = ModelProbe(Handle(Result(SERVED, None), Result(SERVED)), timeout_s=3600)
        async with asyncio.timeout(30):
            assert await probe.info() == SERVED.info

    asyncio.run(run())


def test_where_none_answers_nothing_is_ready_and_the_next_probe_looks_again() -> None:
    async def run() -> None:
        handle = Handle(Result(SERVED, None))
        probe = ModelProbe(handle, fresh_s=0.0, timeout_s=0.01)
        with pytest.raises(NotReady):
            await probe.info()
        handle._results = [Result(SERVED)]
        await asyncio.sleep(0.001)
        assert await probe.info() == SERVED.info

    asyncio.run(run())


def test_many_askers_cost_one_probe_and_none_of_them_can_cancel_it() -> None:
    async def run() -> int:
        handle = Handle(Result(SERVED, 0.02))
        probe = ModelProbe(handle, fresh_s=3600)
        first = asyncio.create_task(probe.info())
        await asyncio.sleep(0)
        others = [asyncio.create_task(probe.info()) for _ in range(50)]
        await asyncio.sleep(0)
        first.cancel()
        assert set(await asyncio.gather(*others)) == {SERVED.info}
        await probe.info()
        return handle.n_broadcasts

    assert asyncio.run(run()) == 1


def test_the_time_in_which_the_asker_itself_is_held_up_is_no_silence() -> None:
    async def be_held_up() -> None:
        while True:
            hold_up(3600)
            await asyncio.sleep(0)

    async def run() -> None:
        handle = Handle(Result(SERVED, turns=10))
        burst = asyncio.create_task(be_held_up())
        assert await ModelProbe(handle).info() == SERVED.info
        assert await every_answer(handle, "served") == [SERVED]
        with pytest.raises(NotReady):
            await ModelProbe(Handle(Result(SERVED, None))).info()
        burst.cancel()

    asyncio.run(run())
