"""What a GPU runs, without one: the whole engine on the emulator of torch's varlen attention, and
shapes, dtypes and devices of an 8B forward on tensors without values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from support.mixes import encoding_mixes
from support.scoring import rewards
from support.varlen import engine_as_on_gpu, install
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from cluster.bench import presets
from cluster.config import EngineConfig
from cluster.engine.attention import load_backend, training_backend, varlen
from cluster.engine.batch_invariance import candidate_sizes, pad_rows
from cluster.engine.engine import Engine
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import Batch, pack
from cluster.errors import ConfigError
from cluster.types import Encoding, Numerics

BF16_BOUND = 2.0**-4
"""As on the CPU, see test_numerics."""
few = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Load = Callable[[Numerics], Engine]


@pytest.fixture(scope="module")
def emulated(random_checkpoint: Path) -> Any:
    """Engines whose attention is the emulator's, with a GPU's row counts; their calls."""
    with pytest.MonkeyPatch.context() as patch:
        calls = install(patch)
        both: tuple[Numerics, ...] = ("invariant", "fast")
        yield {n: engine_as_on_gpu(random_checkpoint, n, min_shared_tokens=1) for n in both}, calls


@few
@given(mix=encoding_mixes())
@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_random_trees_are_scored_through_varlen_as_by_the_plain_model(
    emulated: Any, load: Any, numerics: str, mix: list[Encoding]
) -> None:
    engines, calls = emulated
    assert engines[numerics].info.forward == "packed"
    before = len(calls)
    found = rewards(engines[numerics], mix)
    assert len(calls) > before
    plain = rewards(load(numerics="reference", dtype="float32"), mix)
    np.testing.assert_allclose(found, plain, rtol=0, atol=BF16_BOUND)


def test_a_chat_too_large_with_others_is_scored_by_itself_at_little_more_than_its_rows(
    emulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that holds 1,280 rows: no chat of that many tokens is lost to padding."""
    engine = emulated[0]["invariant"]
    original = engine.model.pooled

    def small(batch: Batch, wrap: Any = None) -> Tensor:
        if pad_rows(batch, engine.model.row_sizes).n_unique_tokens > 1280:
            raise torch.OutOfMemoryError("too much")
        found: Tensor = original(batch, wrap)
        return found

    monkeypatch.setattr(engine.model, "pooled", small)
    rng = np.random.default_rng(0)
    lengths = (300, 1270, 500, 400, 700)
    chats = [Encoding(rng.integers(0, 250, n, dtype=np.int32)) for n in lengths]
    assert len(rewards(engine, chats)) == 5


def test_training_under_autocast_takes_a_step_through_varlen(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32 weights, rotary embeddings in float32, values in bfloat16: what accelerate makes."""
    calls = install(monkeypatch)
    module = load(numerics="fast", dtype="float32").model.module
    model = PackedRewardModel(module, "fast", attention="varlen")
    prompt = np.arange(40, dtype=np.int32)
    batch = pack([Encoding(np.append(prompt, [i, 7]).astype(np.int32), 40) for i in range(4)])
    grads = []
    module.requires_grad_(True)
    for attention in ("varlen", "auto"):
        model.attention = attention
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch).square().sum()
        grads.append(torch.autograd.grad(loss, list(module.parameters())))
    module.requires_grad_(False)
    assert calls
    for found, expected in zip(*grads, strict=True):
        assert found.isfinite().all()
        torch.testing.assert_close(found, expected, rtol=0.2, atol=0.05 * expected.abs().max())


def test_the_attention_follows_the_model_to_its_device_and_its_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    names = {
        name: load_backend(name, cpu) for name in ("varlen", "eager", "tiled", "padded", "cascade")
    }
    capability = (9, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert load_backend("auto", cuda, torch.bfloat16) is names["varlen"]
    assert load_backend("auto", cuda, torch.float32) is names["eager"]
    assert training_backend("auto", cuda, torch.bfloat16) is names["varlen"]
    assert training_backend("auto", cuda, torch.float32) is names["padded"]
    assert training_backend("auto", cpu, torch.bfloat16) is names["padded"]
    capability = (7, 5)
    assert load_backend("auto", cuda, torch.float16) is names["eager"]
    assert training_backend("auto", cuda, torch.float16) is names["padded"]


def test_a_model_that_was_moved_does_not_keep_the_kernel_of_its_old_device(load: Any) -> None:
    """accelerate moves a model after it is made, and evaluates without gradients."""
    model = PackedRewardModel(load(numerics="fast", dtype="float32").model.module, "fast")
    asked: list[str] = []

    def chosen(name: str, device: torch.device, dtype: torch.dtype) -> Any:
        asked.append(device.type)
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr("cluster.engine.model.load_backend", chosen)
        patch.setattr(PackedRewardModel, "device", torch.device("cuda"))
        with pytest.raises(InterruptedError):
            model(pack([Encoding(np.arange(5, dtype=np.int32))]))
    assert asked == ["cuda"]


def test_varlen_by_name_is_refused_at_load_for_float32(random_checkpoint: Path) -> None:
    config = EngineConfig(model=str(random_checkpoint), dtype="float32", attention="varlen")
    with pytest.raises(ConfigError, match="half precision"):
        Engine.load(config)


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_an_8b_forward_has_the_shapes_and_dtypes_of_the_kernel_and_stays_on_its_device(
    numerics: Numerics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On meta tensors, which refuse other devices beside them, and to be read by the host: torch
    without CUDA cannot index tensors that a FakeTensorMode pretends to be on it."""
    seen: list[tuple[str, torch.dtype, tuple[int, ...]]] = []
    original = varlen.prepare

    def watched(batch: Batch, device: torch.device, batch_invariant: bool) -> Any:
        attend = original(batch, device, batch_invariant)

        def run(query: Tensor, key: Tensor, value: Tensor, layer: Any) -> Tensor:
            out: Tensor = attend(query, key, value, layer)
            seen.append((out.device.type, out.dtype, tuple(out.shape)))
            return out

        return run

    monkeypatch.setattr(varlen, "prepare", watched)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)  # not the emulator
    prompt = np.arange(5000, dtype=np.int32)
    chats = [Encoding(np.append(prompt, [i, 7, 8]).astype(np.int32), 5000) for i in range(3)]
    chats.append(Encoding(np.arange(30, dtype=np.int32)))
    module = presets.build("8b", torch.device("meta"))
    model = PackedRewardModel(module, numerics, attention="varlen")
    model.row_sizes = candidate_sizes("cuda", 16_384) if numerics == "invariant" else ()
    batch = pack(chats, numerics)
    with torch.no_grad():
        found = model(batch)
    rows = pad_rows(batch, model.row_sizes).n_unique_tokens
    assert (found.device.type, found.dtype, tuple(found.shape)) == ("meta", torch.float32, (4,))
    heads, size = module.config.num_attention_heads, module.config.head_dim
    assert seen == [("meta", torch.bfloat16, (rows, heads, size))] * module.config.num_hidden_layers
