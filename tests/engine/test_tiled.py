"""The native attention: the definition's numbers, and bits that follow a chat alone."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from support.mixes import encoding_mixes
from torch import Tensor

from cluster.engine.attention import LayerAttention, load_backend, tiled
from cluster.engine.attention.masked import masked_attention
from cluster.engine.packing import Batch, pack, prompt_key
from cluster.types import Encoding

CPU = torch.device("cpu")
LAYER = LayerAttention(0.2)
HEADS = {
    "one each": (4, 4, 64),
    "grouped": (6, 2, 128),
    "odd group": (7, 1, 32),
    "wide": (2, 1, 256),
}
few = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

with_kernel = pytest.mark.skipif(
    not tiled.is_available(),
    reason="needs a CPU with AVX512-BF16 and a C++ compiler",
)


def states(batch: Batch, heads: tuple[int, int, int] = (6, 2, 64)) -> list[Tensor]:
    """Queries, keys and values as models hand them over: [T, heads, size] in memory."""
    n_heads, n_kv, size = heads
    generator = torch.Generator().manual_seed(0)
    found = []
    for n in (n_heads, n_kv, n_kv):
        n_tokens = batch.n_unique_tokens + (batch.n_cached if n == n_kv else 0)
        x = torch.randn(n_tokens, n, size, generator=generator)
        found.append((2 * x).bfloat16().transpose(0, 1))
    return found


def run(batch: Batch, inputs: list[Tensor], batch_invariant: bool = True) -> Tensor:
    return load_backend("tiled", CPU)(batch, CPU, batch_invariant)(
        inputs[0], inputs[1], inputs[2], LAYER
    )


@with_kernel
@pytest.mark.parametrize("heads", HEADS)
@few
@given(mix=encoding_mixes())
def test_outputs_are_those_of_explicit_float32_scores(heads: str, mix: list[Encoding]) -> None:
    batch = pack(mix, "fast", 1)
    inputs = states(batch, HEADS[heads])
    query, key, value = (x.float() for x in inputs)
    expected = masked_attention(batch, query, key, value, LAYER)
    torch.testing.assert_close(run(batch, inputs).float(), expected, atol=2e-2, rtol=2e-2)


@with_kernel
def test_a_kept_prompt_in_front_is_seen_by_its_responses() -> None:
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, 99, 200, dtype=np.int32)
    chats = [Encoding(np.concatenate([prompt, prompt[:n]]), 200) for n in (30, 5)]
    key = prompt_key(chats[0])
    assert key is not None
    batch = pack(chats, "invariant", cached={key: 200})
    inputs = states(batch)
    query, keys, values = (x.float() for x in inputs)
    expected = masked_attention(batch, query, keys, values, LAYER)
    torch.testing.assert_close(run(batch, inputs).float(), expected, atol=2e-2, rtol=2e-2)


@with_kernel
@pytest.mark.parametrize("n", [1, 15, 31, 32, 33, 127, 128, 129, 300])
def test_a_chats_bits_do_not_follow_its_batch_mates(n: int) -> None:
    rng = np.random.default_rng(n)
    chats = [Encoding(rng.integers(0, 300, size, dtype=np.int32)) for size in (47, n, 200, 1)]
    together = pack(chats, "invariant")
    inputs = states(together)
    out = run(together, inputs, batch_invariant=False)
    for segment in together.segments:
        rows = slice(segment.start, segment.end)
        alone = pack([Encoding(together.input_ids_T[rows])], "invariant")
        assert torch.equal(run(alone, [x[:, rows].contiguous() for x in inputs]), out[rows])


@with_kernel
def test_what_is_not_a_number_stays_with_the_tokens_that_see_it() -> None:
    chats = [Encoding(np.arange(i, i + 50, dtype=np.int32)) for i in (0, 100)]
    batch = pack(chats, "invariant")
    inputs = states(batch)
    clean = run(batch, inputs)
    inputs[2][:, 20] = torch.nan
    out = run(batch, inputs)
    assert out[20:50].isnan().all()
    assert torch.equal(out[50:], clean[50:])


@with_kernel
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_the_kernel_does_not_take_goes_to_torchs_own(dtype: torch.dtype) -> None:
    batch = pack([Encoding(np.arange(40, dtype=np.int32))], "invariant")
    inputs = [x.to(dtype) for x in states(batch, (4, 2, 24 if dtype is torch.bfloat16 else 64))]
    other = load_backend("cascade", CPU)(batch, CPU, True)(inputs[0], inputs[1], inputs[2], LAYER)
    assert torch.equal(run(batch, inputs), other)


class Wrong:
    """A library whose attention writes nothing."""

    def attend(self, *args: object) -> None: ...


@pytest.fixture
def untried() -> Iterator[None]:
    tiled._library.cache_clear()
    yield
    tiled._library.cache_clear()


@pytest.mark.usefixtures("untried")
def test_a_kernel_that_is_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: list[ctypes.CDLL] = [Wrong()]  # type: ignore[list-item]
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(tiled, "load_library", lambda *_: wrong[0])
    assert tiled._library() is None
    assert "wrong on this machine" in caplog.text


@pytest.mark.usefixtures("untried")
def test_without_bfloat16_instructions_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(tiled, "load_library", lambda *_: pytest.fail("compiled"))
    assert tiled._library() is None


@with_kernel
@pytest.mark.usefixtures("untried")
def test_without_amx_the_products_are_those_of_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    batch = pack([Encoding(np.arange(n, dtype=np.int32)) for n in (1, 8, 40, 150)], "invariant")
    inputs = states(batch)
    query, key, value = (x.float() for x in inputs)
    expected = masked_attention(batch, query, key, value, LAYER)
    torch.testing.assert_close(run(batch, inputs).float(), expected, atol=2e-2, rtol=2e-2)
    assert tiled.is_available()
