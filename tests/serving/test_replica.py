from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.errors import ConfigError, NotFinite, RewardError
from cluster.serving.backends import Backend, SleepBackend, backend_factory, fake_reward
from cluster.serving.replica import Replica
from cluster.types import EncodedBatch, Encoding, Score

CONFIG = EngineConfig(model="m", revision="r1")
FAST = FakeGpuConfig(flops_per_token=0.0)
BATCH = EncodedBatch.from_encodings([Encoding(np.arange(1, n, dtype=np.int32)) for n in (3, 9)])


def sleeper(config: EngineConfig) -> SleepBackend:
    return SleepBackend(config, FAST)


class Held(SleepBackend):
    """A forward that lasts until the test lets it go."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, FAST)
        self.running, self.release = threading.Event(), threading.Event()

    def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        self.running.set()
        self.release.wait(30)
        return super().score(encodings)


async def started(make: object, stuck_after_s: float = 60.0) -> Replica:
    replica = Replica(CONFIG, make, stuck_after_s)  # type: ignore[arg-type]
    await replica.reconfigure({})
    return replica


def test_it_scores_a_batch_in_order_and_names_the_revision() -> None:
    async def run() -> list[Score | RewardError]:
        return (await (await started(sleeper)).score(BATCH)).scores(BATCH.encodings())

    scores = asyncio.run(run())
    expected = [fake_reward(e.input_ids, "r1") for e in BATCH.encodings()]
    assert [s.reward for s in scores if isinstance(s, Score)] == expected
    assert {s.revision for s in scores if isinstance(s, Score)} == {"r1"}


def test_an_items_error_comes_back_as_a_value() -> None:
    class Nan(SleepBackend):
        def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
            return [NotFinite("the logit is NaN"), *super().score(encodings)[1:]]

    async def run() -> list[Score | RewardError]:
        replica = await started(lambda config: Nan(config, FAST))
        return (await replica.score(BATCH)).scores(BATCH.encodings())

    first, second = asyncio.run(run())
    assert isinstance(first, NotFinite)
    assert isinstance(second, Score)


def test_the_loop_answers_during_a_forward_and_a_stuck_one_fails_the_health_check() -> None:
    async def run() -> None:
        held = Held(CONFIG)
        replica = await started(lambda _: held, stuck_after_s=0.0)
        await replica.check_health()
        forward = asyncio.create_task(replica.score(BATCH))
        await asyncio.to_thread(held.running.wait, 30)
        with pytest.raises(RuntimeError, match="stuck"):
            await replica.check_health()
        held.release.set()
        await forward
        await replica.check_health()

    asyncio.run(run())


def test_new_weights_are_loaded_between_two_batches() -> None:
    async def run() -> list[str]:
        held = Held(CONFIG)
        made = iter([held])
        replica = await started(lambda config: next(made, None) or sleeper(config))
        before = asyncio.create_task(replica.score(BATCH))
        await asyncio.to_thread(held.running.wait, 30)
        reload = asyncio.create_task(replica.reconfigure({"revision": "r2"}))
        await asyncio.sleep(0)
        held.release.set()
        await reload
        after = await replica.score(BATCH)
        return [(await before).sources[0].revision, after.sources[0].revision]

    assert asyncio.run(run()) == ["r1", "r2"]


def test_weights_that_cannot_be_loaded_leave_the_old_ones_serving() -> None:
    def make(config: EngineConfig) -> Backend:
        if config.revision == "broken":
            raise OSError("no such revision")
        return sleeper(config)

    async def run() -> str:
        replica = await started(make)
        with pytest.raises(OSError, match="no such revision"):
            await replica.reconfigure({"revision": "broken"})
        return (await replica.score(BATCH)).sources[0].revision

    assert asyncio.run(run()) == "r1"


def test_a_typo_in_user_config_is_named() -> None:
    async def run() -> None:
        await (await started(sleeper)).reconfigure({"revison": "r2"})

    with pytest.raises(ConfigError, match="revison"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("message", "ends"), [("CUDA error: an illegal memory access", True), ("bad shape", False)]
)
def test_the_process_ends_after_a_fatal_device_error_only(
    message: str, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(SleepBackend):
        def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
            raise RuntimeError(message)

    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)

    async def run() -> None:
        await (await started(lambda config: Failing(config, FAST))).score(BATCH)

    with pytest.raises(RuntimeError, match=message):
        asyncio.run(run())
    assert exits == ([1] if ends else [])


def test_the_sleep_backend_is_made_by_name_and_loads_no_model() -> None:
    backend = backend_factory("sleep", FAST)(CONFIG)
    assert backend.info.architecture == "sleep"
