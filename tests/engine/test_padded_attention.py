"""Training's attention gives the numbers and the gradients of the plain way."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.engine.attention import LayerAttention, eager, padded
from cluster.engine.packing import Batch, pack
from cluster.types import Encoding, Numerics

HEADS, KV_HEADS, SIZE = 4, 2, 8

sequences = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.integers(0, 20)),
    min_size=1,
    max_size=8,
)


def batch_of(rows: list[tuple[list[int], int]], numerics: Numerics) -> Batch:
    return pack([Encoding(np.array(ids, np.int32), split % len(ids)) for ids, split in rows],
                numerics, 2)  # fmt: skip


def states(batch: Batch) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(heads, batch.n_unique_tokens, SIZE) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


@settings(max_examples=60, deadline=None)
@given(sequences, st.sampled_from(["fast", "invariant"]))
def test_outputs_and_gradients_equal_the_gathered_ones(
    rows: list[tuple[list[int], int]], numerics: Numerics
) -> None:
    batch = batch_of(rows, numerics)
    results = []
    for backend in (eager, padded):
        inputs = states(batch)
        out = backend.prepare(batch, torch.device("cpu"))(*inputs, LayerAttention(0.3))
        out.square().sum().backward()
        results.append([out.detach(), *(x.grad for x in inputs)])
    for plain, ours in zip(*results, strict=True):
        assert plain is not None
        assert ours is not None
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
def test_one_sequence_alone_is_plain_causal_attention(length: int) -> None:
    batch = batch_of([(list(range(length)), 0)], "fast")
    query, key, value = states(batch)
    out = padded.prepare(batch, torch.device("cpu"))(query, key, value, LayerAttention(0.3))
    plain = torch.nn.functional.scaled_dot_product_attention(
        query[None], key[None], value[None], is_causal=True, scale=0.3, enable_gqa=True
    )[0].transpose(0, 1)
    torch.testing.assert_close(out, plain)
