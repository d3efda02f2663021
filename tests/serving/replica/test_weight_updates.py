"""A replica changes its weights between two batches, or keeps the old ones and says why."""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import Callable

import pytest
from support.sleeping_replica import BATCH, CONFIG, FAST, Held, breakable, sleeper, started

from cluster.config import EngineConfig
from cluster.engine import memory
from cluster.errors import ConfigError, NotReady
from cluster.serving import ray_metrics
from cluster.serving.metrics import WEIGHTS_REFUSED, Metric
from cluster.serving.replica import replica as module
from cluster.serving.replica.backends import Backend, SleepBackend
from cluster.serving.replica.replica import Replica


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
    async def run() -> None:
        replica = await started(breakable)
        await replica.reconfigure({"revision": "broken"})
        assert (await replica.score(BATCH)).sources[0].revision == "r1"
        assert "no such revision" in str((await replica.info()).load_error)
        await replica.reconfigure({"revision": "r2"})
        assert (await replica.score(BATCH)).sources[0].revision == "r2"
        assert (await replica.info()).load_error is None

    asyncio.run(run())


def test_every_health_check_shows_whether_weights_were_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray forgets a gauge that is not set again."""
    shown: list[tuple[str, float]] = []

    def gauge(metric: Metric) -> Callable[..., None]:
        return lambda value, tags: shown.append((metric.name, value))

    monkeypatch.setattr(ray_metrics, "_make", gauge)

    async def run() -> None:
        replica = await started(breakable)
        for revision, refused in (("r1", 0.0), ("broken", 1.0), ("r2", 0.0)):
            await replica.reconfigure({"revision": revision})
            shown.clear()
            await replica.check_health()
            assert shown == [(WEIGHTS_REFUSED.name, refused)]

    monkeypatch.setattr(module, "_inside_serve", lambda: True)
    asyncio.run(run())


def test_a_first_load_that_fails_fails_the_replica_with_the_reason() -> None:
    def make(config: EngineConfig) -> Backend:
        raise OSError("no such revision")

    with pytest.raises(OSError, match="no such revision"):
        asyncio.run(started(make))


def test_a_typo_in_user_config_is_named_and_harms_nothing_that_serves() -> None:
    async def run() -> None:
        replica = await started(sleeper)
        await replica.reconfigure({"revison": "r2"})
        assert "revison" in str((await replica.info()).load_error)
        with pytest.raises(ConfigError, match="revison"):
            await Replica(CONFIG, sleeper, 60.0).reconfigure({"revison": "r2"})

    asyncio.run(run())


def test_the_same_weights_again_are_not_loaded_again() -> None:
    made: list[EngineConfig] = []

    def make(config: EngineConfig) -> Backend:
        made.append(config)
        return sleeper(config)

    async def run() -> list[str]:
        replica = await started(make)
        await replica.reconfigure({"revision": "r1", "drop_old_first": True})
        loads = [(await replica.score(BATCH)).load]
        await replica.reconfigure({"revision": "r2"})
        return [*loads, (await replica.score(BATCH)).load]

    assert len(set(asyncio.run(run()))) == 2, "a load names its answers"
    assert [config.revision for config in made] == ["r1", "r2"]


class OnCpu(SleepBackend):
    """As a model of this machine's memory."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, FAST)
        self.info = dataclasses.replace(self.info, device="cpu")


def test_weights_that_do_not_fit_beside_the_old_ones_are_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100)
    alive: list[weakref.ref[OnCpu]] = []
    old_lives: list[bool] = []

    def make(config: EngineConfig) -> Backend:
        old_lives.extend(ref() is not None for ref in alive)
        backend = OnCpu(config)
        alive.append(weakref.ref(backend))
        return backend

    async def run() -> None:
        replica = await started(make)
        await replica.reconfigure({"model": "tiny"})
        assert "drop_old_first" in str((await replica.info()).load_error)
        assert (await replica.score(BATCH)).sources[0].model == "m"
        await replica.reconfigure({"model": "tiny", "drop_old_first": True})
        assert (await replica.score(BATCH)).sources[0].model == "tiny"

    asyncio.run(run())
    assert old_lives == [False], "the old weights were gone before the new ones were made"


def test_a_replica_that_dropped_its_weights_and_got_no_new_ones_fails() -> None:
    async def run() -> None:
        replica = await started(breakable)
        with pytest.raises(OSError, match="no such revision"):
            await replica.reconfigure({"revision": "broken", "drop_old_first": True})
        with pytest.raises(NotReady):
            await replica.info()

    asyncio.run(run())
