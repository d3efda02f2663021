"""Every attention backend gives, on random trees, what the definition gives a token at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from support.mixes import encoding_mixes
from support.varlen import install
from torch import Tensor

from cluster.engine.attention import LayerAttention, ancestry, load_backend
from cluster.engine.attention.masked import QUERY_BLOCK
from cluster.engine.packing import Batch, pack
from cluster.types import Encoding

HEADS, KV_HEADS, SIZE = 4, 2, 16
CPU = torch.device("cpu")
SLOPES = torch.tensor([0.5, 0.25, 0.125, 0.0625])
SINKS = torch.tensor([1.0, -1.0, 0.5, 3.0])
LAYERS = {
    "plain": LayerAttention(0.3),
    "window": LayerAttention(0.3, window=7),
    "window of one": LayerAttention(0.3, window=1),
    "softcap": LayerAttention(0.3, softcap=2.0),
    "sinks": LayerAttention(0.3, sinks_H=SINKS),
    "alibi": LayerAttention(0.3, alibi_slopes_H=SLOPES),
    "all": LayerAttention(0.3, 7, 2.0, SINKS, SLOPES),
}
few = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def states(batch: Batch, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(heads, batch.n_unique_tokens, SIZE) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    return [torch.randn(*shape, generator=generator).to(dtype) for shape in shapes]


def plain(batch: Batch, states_: list[Tensor], layer: LayerAttention) -> Tensor:
    """One query at a time, by the definition, in float64."""
    query, key, value = (x.double() for x in states_)
    out = torch.zeros(batch.n_unique_tokens, HEADS, SIZE, dtype=torch.float64)
    for segment in batch.segments:
        context = [i for a, b in ancestry(batch.segments, segment) for i in range(a, b)]
        for token in range(segment.start, segment.end):
            seen = context[: context.index(token) + 1][-(layer.window or len(context)) :]
            for head in range(HEADS):
                kv = head // (HEADS // KV_HEADS)
                scores = key[kv, seen] @ query[head, token] * layer.scale
                if layer.softcap:
                    scores = layer.softcap * (scores / layer.softcap).tanh()
                if layer.alibi_slopes_H is not None:
                    distance = torch.arange(len(seen)).flip(0)
                    scores = scores - layer.alibi_slopes_H[head].double() * distance
                weights = scores.exp()
                total = weights.sum()
                if layer.sinks_H is not None:
                    total = total + layer.sinks_H[head].double().exp()
                out[token, head] = weights / total @ value[kv, seen]
    return out


@pytest.mark.parametrize("name", ["cascade", "eager", "padded", "varlen"])
@pytest.mark.parametrize("asked", LAYERS)
@few
@given(mix=encoding_mixes())
def test_outputs_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, name: str, asked: str, mix: list[Encoding]
) -> None:
    install(monkeypatch)
    batch = pack(mix[:5], "fast", 1)
    dtype = torch.bfloat16 if name == "varlen" else torch.float32
    layer, inputs = LAYERS[asked], states(batch, dtype)
    with torch.no_grad():
        for batch_invariant in (True, False):
            attend = load_backend(name, CPU)(batch, CPU, batch_invariant)
            found = attend(inputs[0], inputs[1], inputs[2], layer)
            bound = 2e-2 if dtype is torch.bfloat16 else 2e-5
            torch.testing.assert_close(
                found.double(), plain(batch, inputs, layer), atol=bound, rtol=bound
            )


@pytest.mark.parametrize("asked", ["window", "softcap", "all"])
def test_a_chats_bits_do_not_depend_on_its_batch_mates(asked: str) -> None:
    rng = np.random.default_rng(0)
    chats = [
        Encoding(rng.integers(0, 300, n, dtype=np.int32)) for n in (5, QUERY_BLOCK + 70, 40, 1)
    ]
    together = pack(chats, "invariant")
    inputs, layer = states(together), LAYERS[asked]
    out = load_backend("cascade", CPU)(together, CPU, True)(inputs[0], inputs[1], inputs[2], layer)
    for segment in together.segments:
        run = slice(segment.start, segment.end)
        alone = pack([Encoding(together.input_ids_T[run])], "invariant")
        own = [x[:, run].contiguous() for x in inputs]
        found = load_backend("cascade", CPU)(alone, CPU, True)(own[0], own[1], own[2], layer)
        assert torch.equal(found, out[run])


@pytest.mark.parametrize("name", ["padded", "eager", "varlen"])
@pytest.mark.parametrize("asked", ["window", "softcap", "sinks"])
def test_gradients_flow_through_everything_a_layer_asks_for(
    monkeypatch: pytest.MonkeyPatch, name: str, asked: str
) -> None:
    install(monkeypatch)
    ids = np.arange(30, dtype=np.int32)
    batch = pack([Encoding(ids), Encoding(ids[:20]), Encoding(ids[5:])], "fast", 1)
    layer = LAYERS[asked]
    sinks = None if layer.sinks_H is None else layer.sinks_H.clone().requires_grad_()
    layer = LayerAttention(layer.scale, layer.window, layer.softcap, sinks)
    dtype = torch.bfloat16 if name == "varlen" else torch.float32
    grads = []
    for backend in (name, "eager"):
        inputs = [x.to(dtype).requires_grad_() for x in states(batch)]
        leaves = inputs if sinks is None else [*inputs, sinks]
        out = load_backend(backend, CPU)(batch, CPU, True)(inputs[0], inputs[1], inputs[2], layer)
        grads.append(torch.autograd.grad(out.float().square().sum(), leaves))
    for found, expected in zip(*grads, strict=True):
        assert expected.abs().max() > 0
        bound = 0.1 if dtype is torch.bfloat16 else 1e-4
        torch.testing.assert_close(found, expected, atol=bound, rtol=bound)
