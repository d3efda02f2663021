from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.engine import memory
from cluster.errors import ConfigError, NotFinite, NotReady, RewardError
from cluster.serving import ray_metrics
from cluster.serving.metrics import WEIGHTS_REFUSED, Metric
from cluster.serving.replica import replica as module
from cluster.serving.replica.backends import Backend, SleepBackend, backend_factory, fake_reward
from cluster.serving.replica.replica import Replica
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

    async def run() -> None:
        replica = await started(make)
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

    def make(config: EngineConfig) -> Backend:
        if config.revision == "broken":
            raise OSError("no such revision")
        return sleeper(config)

    async def run() -> None:
        replica = await started(make)
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
    def make(config: EngineConfig) -> Backend:
        if config.revision == "broken":
            raise OSError("no such revision")
        return sleeper(config)

    async def run() -> None:
        replica = await started(make)
        with pytest.raises(OSError, match="no such revision"):
            await replica.reconfigure({"revision": "broken", "drop_old_first": True})
        with pytest.raises(NotReady):
            await replica.info()

    asyncio.run(run())


class Encoded(SleepBackend):
    """Takes the encodings of one encoder, and 10 tokens of its 100."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, FAST)
        info = dataclasses.replace(self.info, encoder="mine", vocab_size=100, max_tokens=10)
        self.info = info


def test_ids_of_another_encoder_never_get_a_number() -> None:
    ids = np.array([1, 2], np.int32)
    wild = [np.array([1, bad], np.int32) for bad in (-1, 100)]
    batch = EncodedBatch.from_encodings(
        [
            Encoding(ids, fingerprint="another"),
            Encoding(ids, fingerprint="mine"),
            Encoding(ids),
            *(Encoding(w) for w in wild),
            Encoding(np.arange(11, dtype=np.int32)),
            Encoding(np.zeros(0, np.int32)),
        ]
    )

    async def run() -> list[Score | RewardError]:
        return (await (await started(Encoded)).score(batch)).scores(batch.encodings())

    results = asyncio.run(run())
    codes = [r.code if isinstance(r, RewardError) else r.reward for r in results]
    right = fake_reward(ids, "r1")
    invalid = "invalid_input"
    assert codes == ["encoder_changed", right, right, invalid, invalid, "too_long", invalid]


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
