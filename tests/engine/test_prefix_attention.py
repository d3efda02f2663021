"""Every attention backend reads kept prompts before a batch's own keys as if computed there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from support.mixes import encoding_mixes
from support.varlen import install
from torch import Tensor

from cluster.engine.attention import LayerAttention, load_backend, varlen
from cluster.engine.batch import Batch
from cluster.engine.packing import pack, prompt_key
from cluster.types import Encoding, Numerics, TokenIds

HEADS, KV_HEADS, SIZE = 4, 2, 16
CPU = torch.device("cpu")
SINKS = torch.tensor([1.0, -1.0, 0.5, 3.0])
LAYERS = {
    "plain": LayerAttention(0.3),
    "window": LayerAttention(0.3, window=7),
    "all": LayerAttention(0.3, 7, 2.0, SINKS, torch.tensor([0.5, 0.25, 0.125, 0.0625])),
}
few = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def states(ids_C: TokenIds, positions_C: TokenIds, n_heads: int, dtype: torch.dtype) -> Tensor:
    """[H, C, D] that a token's id and position alone decide."""
    seeds = ids_C.astype(np.int64) * 512 + positions_C
    rows = [
        np.random.default_rng([n_heads, seed]).standard_normal((n_heads, SIZE)) for seed in seeds
    ]
    return torch.from_numpy(np.stack(rows, 1)).to(dtype)


def last_tokens(
    name: str, batch: Batch, kept: list[TokenIds], layer: LayerAttention, batch_invariant: bool
) -> Tensor:
    """[N, H, D] of each sequence's last token. kept: ids of the prompts in front."""
    dtype = torch.bfloat16 if name == "varlen" else torch.float32
    own = batch.input_ids_T, batch.position_ids_T
    ids_C = np.concatenate([*kept, own[0]])
    positions_C = np.concatenate([*(np.arange(len(p), dtype=np.int32) for p in kept), own[1]])
    key_KCD = states(ids_C, positions_C, KV_HEADS, dtype)
    with torch.no_grad():
        attend = load_backend(name, CPU)(batch, CPU, batch_invariant)
        out_THD = attend(states(*own, HEADS, dtype), key_KCD, key_KCD.flip(0), layer)
    return out_THD[torch.from_numpy(batch.last_token_N)]


@pytest.mark.parametrize("cascade", [1, 4096])
@pytest.mark.parametrize("name", ["cascade", "eager", "varlen"])
@pytest.mark.parametrize("asked", LAYERS)
@pytest.mark.parametrize("numerics", ["invariant", "fast"])
@few
@given(mix=encoding_mixes())
def test_outputs_are_those_of_prompts_computed_in_the_batch(
    monkeypatch: pytest.MonkeyPatch,
    cascade: int,
    name: str,
    asked: str,
    numerics: Numerics,
    mix: list[Encoding],
) -> None:
    install(monkeypatch)
    monkeypatch.setattr(varlen, "CASCADE_DEPTH", cascade)
    prompts = {key: e.input_ids[: e.prompt_len] for e in mix if (key := prompt_key(e))}
    known = dict(list(prompts.items())[::2])
    batch_invariant = numerics == "invariant"
    computed = last_tokens(name, pack(mix, numerics, 1), [], LAYERS[asked], batch_invariant)
    batch = pack(mix, numerics, 1, {key: len(ids) for key, ids in known.items()})
    kept = [known[key] for key in batch.cached]
    found = last_tokens(name, batch, kept, LAYERS[asked], batch_invariant)
    if batch_invariant:
        assert torch.equal(found, computed)
    else:
        bound = 2e-2 if name == "varlen" else 1e-5
        torch.testing.assert_close(found, computed, rtol=bound, atol=bound)
