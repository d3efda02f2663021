"""Compiled layers: the same numbers, compiled once for all batches, and only where bits hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager

from cluster.config import EngineConfig
from cluster.engine import engine as engine_module
from cluster.engine.engine import Engine
from cluster.engine.fused import fuse, unfuse
from cluster.types import Encoding, Score


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def batches() -> list[list[Encoding]]:
    """Calls of different sizes, shared prompts among them; none has as many rows as the layers
    have columns, which the compiler would take for a rule."""
    rng = np.random.default_rng(0)
    found = []
    for n_prompt, n, n_own in ((700, 1, 20), (50, 2, 90), (30, 3, 70), (20, 5, 60), (33, 3, 50)):
        prompt = rng.integers(0, 250, n_prompt, dtype=np.int32)
        own = rng.integers(0, 250, (n, n_own), dtype=np.int32)
        found.append([Encoding(np.concatenate([prompt, row]), n_prompt) for row in own])
    return found


def rewards(engine: Engine, encodings: Sequence[Encoding]) -> list[float]:
    return [s.reward for s in engine.score(encodings) if isinstance(s, Score)]


@pytest.mark.slow
@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_compiled_layers_give_the_same_bits_and_are_compiled_once_for_all_batches(
    random_checkpoint: Path, numerics: Any
) -> None:
    config = EngineConfig(model=str(random_checkpoint), numerics=numerics, prompt_cache_mib=0)
    engine = Engine.load(config)
    calls = batches()
    plain = [rewards(engine, call) for call in calls]
    compiled = 0

    def counting(graph: Any, inputs: Any) -> Any:
        nonlocal compiled
        compiled += 1
        return aot_eager(graph, inputs)

    fuse(engine.model.module, counting)
    assert rewards(engine, calls[0]) == plain[0]
    first = compiled
    assert first > 0
    assert [rewards(engine, call) for call in calls[1:]] == plain[1:]
    assert compiled == first
    unfuse(engine.model.module)
    assert [rewards(engine, call) for call in calls] == plain
    assert compiled == first


@pytest.mark.slow
def test_layers_that_lose_bits_are_left_as_they_were(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_module, "fuse", lambda module: fuse(module, aot_eager))
    config = EngineConfig(model=str(random_checkpoint), layers="compiled")
    fused = Engine.load(config)
    assert fused.model.module.base_model.layers[0]._compiled_call_impl is not None
    monkeypatch.setattr(engine_module, "keeps_bits", lambda *_: False)
    plain = Engine.load(config)
    assert plain.model.module.base_model.layers[0]._compiled_call_impl is None
    assert "left as is" in caplog.text


def test_without_a_compiler_the_layers_are_left_as_they_are_and_the_log_says_so(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    engine = Engine.load(EngineConfig(model=str(random_checkpoint), layers="compiled"))
    layer = engine.model.module.base_model.layers[0]
    assert layer._compiled_call_impl is None
    assert sum("no C++ compiler" in record.message for record in caplog.records) == 1
