"""The CUDA path against float32 on the CPU: attention in one varlen call, shared prompts, bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster.config import EngineConfig
from cluster.engine.engine import Engine
from cluster.types import Encoding, Numerics, Score

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

BF16_BOUND = 2.0**-4
"""As on the CPU, see test_numerics."""


def groups(n_prompts: int = 4, n_responses: int = 4) -> list[Encoding]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n_prompts):
        prompt = rng.integers(0, 300, rng.integers(20, 200), dtype=np.int32)
        for _ in range(n_responses):
            response = rng.integers(0, 300, rng.integers(1, 90), dtype=np.int32)
            found.append(Encoding(np.concatenate([prompt, response]), len(prompt)))
    return [found[i] for i in rng.permutation(len(found))]


def engine(checkpoint: Path, device: str, **settings: Any) -> Engine:
    return Engine.load(EngineConfig(model=str(checkpoint), device=device, **settings))


def rewards(engine: Engine, encodings: list[Encoding]) -> list[float]:
    results = engine.score(encodings)
    assert all(isinstance(r, Score) for r in results), results
    return [r.reward for r in results if isinstance(r, Score)]


@pytest.mark.parametrize("min_shared", [1, 2**30], ids=["shared", "not shared"])
@pytest.mark.parametrize("numerics", ["reference", "invariant", "fast"])
def test_rewards_agree_with_float32_on_the_cpu(
    random_checkpoint: Path, numerics: Numerics, min_shared: int
) -> None:
    exact = engine(random_checkpoint, "cpu", dtype="float32", numerics="reference")
    device = engine(
        random_checkpoint,
        "cuda",
        numerics=numerics,
        head_dtype="float32",
        min_shared_tokens=min_shared,
    )
    found, expected = rewards(device, groups()), rewards(exact, groups())
    np.testing.assert_allclose(found, expected, rtol=0, atol=BF16_BOUND)


def test_invariant_gives_the_same_bits_alone_and_in_any_batch(random_checkpoint: Path) -> None:
    device = engine(random_checkpoint, "cuda", numerics="invariant", head_dtype="float32")
    batch = groups()
    assert rewards(device, batch) == [rewards(device, [e])[0] for e in batch]


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_cuda_graphs_give_the_bits_of_the_rows_they_were_recorded_for(
    random_checkpoint: Path, numerics: Numerics
) -> None:
    plain, graphed = (
        engine(
            random_checkpoint, "cuda", numerics=numerics, head_dtype="float32", cuda_graph_rows=n
        )
        for n in (0, 512)
    )
    assert tuple(sorted(graphed.model.graphs)) == (256, 512)
    if numerics == "fast":
        plain.model.row_sizes = (256, 512)
    for chats in ([e] for e in groups()):
        assert rewards(graphed, chats) == rewards(plain, chats)


def test_memory_running_out_splits_the_batch(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = engine(random_checkpoint, "cuda", numerics="fast")
    whole, original = rewards(device, groups()), device.rewards

    def limited(batch: Any, *rest: Any) -> list[float]:
        if len(batch) > 5:
            raise torch.OutOfMemoryError("five at most")
        found: list[float] = original(batch, *rest)
        return found

    monkeypatch.setattr(device, "rewards", limited)
    np.testing.assert_allclose(rewards(device, groups()), whole, rtol=0, atol=BF16_BOUND)
