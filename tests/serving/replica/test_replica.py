"""A replica scores batches in order, refuses foreign ids, and shows a stuck or broken device."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import pytest
from support.sleeping_replica import BATCH, CONFIG, FAST, Held, sleeper, started

from cluster.config import EngineConfig
from cluster.errors import NotFinite, RewardError
from cluster.serving.replica.backends import SleepBackend, backend_factory, fake_reward
from cluster.types import EncodedBatch, Encoding, Score


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
