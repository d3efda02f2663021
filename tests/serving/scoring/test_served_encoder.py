"""Which tokenizer a process encodes with, and when it takes another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from support.encoders import Encoder, as_encoder, served

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import DeadlineExceeded, ModelRefused
from cluster.serving.protocol import ServedModel
from cluster.serving.scoring import served_encoder as module
from cluster.serving.scoring.served_encoder import ServedEncoder

pytestmark = pytest.mark.usefixtures("virtual_time")


class Replicas:
    """Say what they serve; loading gives an encoder of the model's name."""

    def __init__(self, *now: ServedModel) -> None:
        self.now = list(now)
        self.n_asked = 0
        self.loaded: list[str] = []
        self.up = asyncio.Event()
        self.up.set()

    async def serving(self, deadline: float | None) -> ServedModel:
        self.n_asked += 1
        await self.up.wait()
        return self.now[0]

    def load(self, engine: EngineConfig) -> ChatEncoder:
        self.loaded.append(engine.model)
        return as_encoder(Encoder(engine.model))


def of(name: str) -> ServedModel:
    return served(name, model=name)


def run(scenario: Callable[[Replicas, ServedEncoder], object], *now: ServedModel) -> None:
    async def main() -> None:
        replicas = Replicas(*now)
        await scenario(replicas, ServedEncoder(replicas.serving, replicas.load))  # type: ignore[misc]

    asyncio.run(main())


def test_many_callers_load_one_encoder_once() -> None:
    async def scenario(replicas: Replicas, encoder: ServedEncoder) -> None:
        found = await asyncio.gather(*(encoder.get(None) for _ in range(5)))
        assert {id(e) for e in found} == {id(found[0])}
        assert (replicas.n_asked, replicas.loaded) == (1, ["a"])

    run(scenario, of("a"))


def test_one_that_waits_without_a_deadline_holds_nobody_back() -> None:
    async def scenario(replicas: Replicas, encoder: ServedEncoder) -> None:
        replicas.up.clear()
        patient = asyncio.create_task(encoder.get(None))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await encoder.get(time.monotonic() + 0.01)
        assert not patient.done()
        replicas.up.set()
        assert (await patient).fingerprint == "a"

    run(scenario, of("a"))


def test_a_roll_takes_the_tokenizer_with_it_and_the_way_back_loads_nothing() -> None:
    async def scenario(replicas: Replicas, encoder: ServedEncoder) -> None:
        await encoder.get(None)
        replicas.now = [of("b")]
        assert (await encoder.refresh(None)).fingerprint == "b"
        replicas.now = [of("a")]
        assert (await encoder.refresh(None)).fingerprint == "a"
        assert (await encoder.get(None)).fingerprint == "a"
        assert replicas.loaded == ["a", "b"]

    run(scenario, of("a"))


def test_other_files_under_the_same_name_are_loaded_again() -> None:
    made = iter(["old", "new"])

    async def scenario(replicas: Replicas, encoder: ServedEncoder) -> None:
        encoder._load = lambda engine: as_encoder(Encoder(next(made)))
        assert (await encoder.get(None)).fingerprint == "old"
        replicas.now = [served("new")]
        assert (await encoder.refresh(None)).fingerprint == "new"

    run(scenario, served("old"))


def test_files_that_encode_otherwise_here_than_on_the_replicas_are_refused() -> None:
    async def scenario(replicas: Replicas, encoder: ServedEncoder) -> None:
        with pytest.raises(ModelRefused, match="different ids here"):
            await encoder.get(None)

    run(scenario, served("elsewhere", model="a"))


def test_without_a_fingerprint_the_config_tells_a_change() -> None:
    async def scenario(replicas: Replicas, encoder: ServedEncoder) -> None:
        first = await encoder.get(None)
        assert await encoder.refresh(None) is first
        replicas.now = [served("", model="a", revision="r2")]
        assert await encoder.refresh(None) is not first

    run(scenario, served("", model="a"))


def test_a_service_that_does_not_answer_confirms_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    monkeypatch.setattr(module, "CONFIRMED_S", 0.0)

    async def scenario(replicas: Replicas, encoder: ServedEncoder) -> None:
        held = await encoder.get(None)
        replicas.up.clear()
        assert await encoder.confirmed(held, None)

    run(scenario, of("a"))
