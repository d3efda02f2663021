"""What each of the three numerics promises, tested for just that."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from support.mixes import PAD_ID, encoding_mixes
from support.scoring import rewards

from cluster.config import EngineConfig
from cluster.engine.engine import Engine
from cluster.engine.model import compute_dtype
from cluster.engine.packing import Batch, pack
from cluster.types import Encoding, Numerics

few = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BF16_BOUND = 2.0**-4
"""On the random checkpoint, whose rewards have a standard deviation of 0.7: over 250 random mixes
(1,278 sequences) packing moved no reward by more than 0.033; twice that is the bound."""
FLOAT32_BOUND = 1e-5


def alone(engine: Engine, encodings: list[Encoding]) -> list[float]:
    return [rewards(engine, [e])[0] for e in encodings]


def plain_logits(engine: Engine, encodings: list[Encoding]) -> list[float]:
    """The transformers model's own forward, one sequence at a time."""
    module = engine.model.module
    with torch.inference_mode():
        ids = (torch.from_numpy(e.input_ids)[None].long() for e in encodings)
        return [module(input_ids=i, use_cache=False).logits.item() for i in ids]


@few
@given(mix=encoding_mixes())
def test_reference_has_the_bits_of_the_plain_model_in_any_batch(
    load: Any, mix: list[Encoding]
) -> None:
    engine = load(numerics="reference")
    assert engine.info.compute_dtype == "bfloat16"
    assert rewards(engine, mix) == plain_logits(engine, mix)


def test_ids_that_end_in_pad_are_pooled_at_their_last_token_by_length(load: Any) -> None:
    """transformers searches for the pad id instead, and would pool the token before it."""
    engine = load(numerics="reference", dtype="float32")
    assert engine.model.module.config.pad_token_id == PAD_ID
    ends = np.array([7, 8, 9, PAD_ID], np.int32)
    with torch.inference_mode():
        hidden_TD = engine.model.module.model(torch.from_numpy(ends)[None].long())[0][0]
        by_length = engine.model.module.score(hidden_TD)[:, 0].tolist()
    (reward,) = rewards(engine, [Encoding(ends)])
    assert reward == pytest.approx(by_length[-1], abs=FLOAT32_BOUND)
    (searched,) = plain_logits(engine, [Encoding(ends)])
    assert searched == pytest.approx(by_length[-2], abs=FLOAT32_BOUND)
    assert abs(reward - searched) > 100 * FLOAT32_BOUND


@pytest.mark.parametrize("settings_", [{}, {"compute": "model"}, {"dtype": "float32"}], ids=str)
@few
@given(mix=encoding_mixes())
def test_invariant_gives_the_same_bits_alone_and_in_any_batch(
    load: Any, settings_: dict[str, Any], mix: list[Encoding]
) -> None:
    engine = load(numerics="invariant", head_dtype="float32", **settings_)
    assert rewards(engine, mix) == alone(engine, mix)


@few
@given(mix=encoding_mixes())
def test_invariant_bits_survive_small_batches_and_any_order(load: Any, mix: list[Encoding]) -> None:
    engine = load(numerics="invariant", head_dtype="float32")
    small = load(numerics="invariant", head_dtype="float32", token_budget=128)
    assert rewards(small, mix) == rewards(engine, mix)
    assert rewards(engine, mix[::-1]) == rewards(engine, mix)[::-1]


@pytest.mark.parametrize(
    ("settings_", "bound"),
    [({"compute": "model"}, BF16_BOUND), ({"dtype": "float32"}, FLOAT32_BOUND)],
    ids=["bfloat16", "float32"],
)
@few
@given(mix=encoding_mixes())
def test_fast_gives_alone_what_it_gives_in_a_batch_within_the_bound(
    load: Any, settings_: dict[str, Any], bound: float, mix: list[Encoding]
) -> None:
    engine = load(numerics="fast", min_shared_tokens=1, **settings_)
    np.testing.assert_allclose(rewards(engine, mix), alone(engine, mix), rtol=0, atol=bound)


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
@pytest.mark.parametrize(
    ("settings_", "bound"),
    [({}, BF16_BOUND), ({"compute": "model"}, BF16_BOUND), ({"dtype": "float32"}, FLOAT32_BOUND)],
    ids=["widened", "bfloat16", "float32"],
)
@few
@given(mix=encoding_mixes())
def test_packed_numerics_agree_with_the_plain_model_within_the_bound(
    load: Any, numerics: Numerics, settings_: dict[str, Any], bound: float, mix: list[Encoding]
) -> None:
    engine = load(numerics=numerics, **settings_)
    plain = load(numerics="reference", **({"dtype": "float32"} if "dtype" in settings_ else {}))
    np.testing.assert_allclose(rewards(engine, mix), rewards(plain, mix), rtol=0, atol=bound)


@given(mix=encoding_mixes())
@few
def test_the_attention_backends_agree(load: Any, mix: list[Encoding]) -> None:
    settings_ = {"numerics": "fast", "dtype": "float32", "min_shared_tokens": 1}
    quick, plain = load(**settings_), load(**settings_, attention="eager")
    np.testing.assert_allclose(rewards(quick, mix), rewards(plain, mix), rtol=0, atol=1e-5)


def test_the_head_is_on_the_models_grid_unless_float32_is_asked_for(load: Any) -> None:
    mix = [Encoding(np.arange(n, dtype=np.int32)) for n in range(5, 60)]
    on_grid = rewards(load(numerics="fast"), mix)
    finer = rewards(load(numerics="fast", head_dtype="float32"), mix)
    assert torch.tensor(on_grid).bfloat16().tolist() == on_grid
    assert torch.tensor(finer).bfloat16().tolist() != finer
    assert len(set(finer)) >= len(set(on_grid))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other CPUs are asked through oneDNN")
@pytest.mark.parametrize(
    ("avx512_bf16", "amx"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_arithmetic_is_widened_only_where_the_cpu_has_no_bf16_instructions(
    avx512_bf16: bool, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN alone would say yes on any CPU with AVX-512."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    config = EngineConfig(numerics="fast")
    expected = torch.bfloat16 if avx512_bf16 or amx else torch.float32
    cpu = torch.device("cpu")
    assert compute_dtype(config, cpu) is expected
    assert compute_dtype(replace(config, compute="model"), cpu) is torch.bfloat16
    assert compute_dtype(config, torch.device("cuda")) is torch.bfloat16
    assert compute_dtype(replace(config, numerics="reference"), cpu) is torch.bfloat16


def test_a_device_without_agreeing_matmuls_scores_one_chat_a_forward(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load(numerics="invariant")
    mix = [Encoding(np.arange(n, dtype=np.int32)) for n in (10, 20, 30)]
    whole, original, sizes = rewards(engine, mix), engine.rewards, list[int]()

    def counting(batch: Batch, *rest: Any) -> list[float]:
        sizes.append(len(batch))
        found: list[float] = original(batch, *rest)
        return found

    monkeypatch.setattr(engine.model, "row_sizes", ())
    monkeypatch.setattr(engine, "rewards", counting)
    np.testing.assert_allclose(rewards(engine, mix), whole, rtol=0, atol=BF16_BOUND)
    assert sizes == [1, 1, 1]


def test_gradients_of_the_packed_loss_are_those_of_the_plain_one(load: Any) -> None:
    from torch.nn.functional import logsigmoid

    rng = np.random.default_rng(0)
    prompt = rng.integers(0, 300, 40, dtype=np.int32)
    ids = [np.concatenate([prompt, rng.integers(0, 300, n, dtype=np.int32)]) for n in (5, 9, 30, 2)]
    model = load(numerics="fast", dtype="float32").model
    plain = load(numerics="reference", dtype="float32").model.module

    def packed_rewards() -> torch.Tensor:
        rewards_N: torch.Tensor = model(pack([Encoding(i, 40) for i in ids], "fast"))
        return rewards_N

    def plain_rewards() -> torch.Tensor:
        rows = (torch.from_numpy(i)[None].long() for i in ids)
        return torch.cat([plain(input_ids=row).logits[0] for row in rows])

    grads = []
    for module, forward in ((model.module, packed_rewards), (plain, plain_rewards)):
        module.requires_grad_(True)
        rewards_N = forward()
        loss = -logsigmoid(rewards_N[0::2] - rewards_N[1::2]).mean()
        grads.append(torch.autograd.grad(loss, list(module.parameters())))
        module.requires_grad_(False)
    assert len(grads[0]) == len(list(plain.parameters()))
    for packed, expected in zip(*grads, strict=True):
        torch.testing.assert_close(packed, expected, rtol=1e-4, atol=1e-6)
