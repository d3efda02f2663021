"""A kept prompt gives the bits of a computed one, costs no rows, and stays within its bytes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mixes import encoding_mixes
from support.scoring import rewards

from cluster.config import EngineConfig
from cluster.engine.batch import Batch
from cluster.engine.engine import Engine
from cluster.engine.packing import pack, plan, prompt_key
from cluster.types import Encoding

few = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BF16_BOUND = 2.0**-4
"""As between alone and in a batch, see test_numerics."""


def group(n: int, prompt: int = 60, response: int = 10, seed: int = 0) -> list[Encoding]:
    """`n` responses to one prompt."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 250, prompt, dtype=np.int32)
    own = rng.integers(0, 250, (n, response), dtype=np.int32)
    return [Encoding(np.concatenate([start, row]), prompt) for row in own]


def rows_of(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the computed tokens of each forward."""
    seen: list[int] = []
    original = engine.rewards

    def counting(batch: Batch, *rest: Any) -> list[float]:
        seen.append(batch.n_unique_tokens)
        found: list[float] = original(batch, *rest)
        return found

    monkeypatch.setattr(engine, "rewards", counting)
    return seen


@st.composite
def arrivals(draw: st.DrawFn) -> list[list[Encoding]]:
    """A mix in random calls of random order, some sequences twice."""
    mix = draw(encoding_mixes())
    order = draw(st.lists(st.sampled_from(range(len(mix))), min_size=1, max_size=2 * len(mix)))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=6)) | {0, len(order)})
    return [[mix[i] for i in order[a:b]] for a, b in pairwise(cuts)]


@pytest.mark.parametrize("settings_", [{}, {"dtype": "float32"}, {"attention": "eager"}], ids=str)
@few
@given(calls=arrivals())
def test_invariant_hits_have_the_bits_of_misses_in_any_order_of_arrival(
    load: Any, settings_: dict[str, Any], calls: list[list[Encoding]]
) -> None:
    settings_ = {"numerics": "invariant", "head_dtype": "float32"} | settings_
    keeping, plain = load(**settings_), load(**settings_, prompt_cache_mib=0)
    for call in calls:
        assert rewards(keeping, call) == rewards(plain, call)


@few
@given(calls=arrivals(), kept=st.sampled_from([3000, 20_000, 2**20]))
def test_invariant_bits_survive_eviction(load: Any, calls: list[list[Encoding]], kept: int) -> None:
    small = load(numerics="invariant", head_dtype="float32", min_shared_tokens=2)
    small.prompts.clear()
    small.prompts.max_bytes = kept
    plain = load(numerics="invariant", head_dtype="float32", prompt_cache_mib=0)
    for call in calls:
        assert rewards(small, call) == rewards(plain, call)
        assert small.prompts.stats.bytes <= kept


@few
@given(calls=arrivals())
def test_fast_hits_are_within_the_bound_of_misses(load: Any, calls: list[list[Encoding]]) -> None:
    settings_ = {"numerics": "fast", "min_shared_tokens": 1}
    keeping, plain = load(**settings_), load(**settings_, prompt_cache_mib=0)
    for call in calls:
        found, expected = rewards(keeping, call), rewards(plain, call)
        np.testing.assert_allclose(found, expected, rtol=0, atol=BF16_BOUND)


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_one_by_one_costs_the_tokens_of_all_together(
    random_checkpoint: Path, numerics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.load(EngineConfig(model=str(random_checkpoint), numerics=numerics))
    responses = group(8, prompt=300, response=40)
    rows = rows_of(engine, monkeypatch)
    for encoding in responses:
        rewards(engine, [encoding])
    assert sum(rows) == 300 + 8 * 40 == pack(responses, numerics).n_unique_tokens
    stats = engine.prompts.stats
    assert (stats.hits, stats.hit_tokens) == (7, 7 * 300)


def test_a_prompt_longer_than_a_forward_is_computed_once(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.load(EngineConfig(model=str(random_checkpoint), token_budget=128))
    rows = rows_of(engine, monkeypatch)
    rewards(engine, group(8, prompt=200, response=20))
    assert sum(rows) == 200 + 8 * 20
    assert all(n <= 128 for n in rows[1:])


def test_reference_keeps_nothing(load: Any) -> None:
    engine = load(numerics="reference")
    rewards(engine, group(2))
    rewards(engine, group(2))
    assert engine.prompts.stats.misses == engine.prompts.stats.bytes == 0


def test_the_least_recently_used_prompt_goes_first(load: Any) -> None:
    engine = load(numerics="fast", prompt_cache_mib=1)
    engine.prompts.clear()
    a, b, c = (group(2, seed=seed) for seed in range(3))
    rewards(engine, a[:1])
    engine.prompts.max_bytes = 2 * engine.prompts.stats.bytes
    for encodings in (b, a[1:], c):  # a is used again, so b makes room for c
        rewards(engine, encodings)
    assert set(engine.prompts.lengths([*a, *b, *c])) == {prompt_key(a[0]), prompt_key(c[0])}


def test_a_prompt_larger_than_the_cache_is_not_kept_and_harms_no_other(load: Any) -> None:
    engine = load(numerics="fast", prompt_cache_mib=2)
    engine.prompts.clear()
    small, large = group(1, prompt=20), group(1, prompt=500)
    rewards(engine, small)
    engine.prompts.max_bytes = engine.prompts.stats.bytes
    rewards(engine, large)
    assert set(engine.prompts.lengths([*small, *large])) == {prompt_key(small[0])}


def test_the_bytes_counted_are_those_of_keys_and_values(load: Any) -> None:
    engine = load(numerics="invariant", prompt_cache_mib=3)
    engine.prompts.clear()
    rewards(engine, group(3, prompt=100))
    config = engine.model.module.config
    width = config.num_key_value_heads * config.head_dim * config.num_hidden_layers
    assert engine.prompts.stats.bytes == 2 * 100 * width * engine.model.dtype.itemsize


def test_memory_running_out_empties_the_cache(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load(numerics="fast", prompt_cache_mib=4)
    first, second = group(1), group(1, seed=1)
    rewards(engine, first)
    original, failures = engine.rewards, [torch.OutOfMemoryError("full")]

    def limited(batch: Batch, *rest: Any) -> list[float]:
        if failures:
            raise failures.pop()
        found: list[float] = original(batch, *rest)
        return found

    monkeypatch.setattr(engine, "rewards", limited)
    rewards(engine, [*first, *second])
    assert set(engine.prompts.lengths(second)) == {prompt_key(second[0])}


def test_a_forward_that_fails_leaves_nothing(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load(numerics="fast", prompt_cache_mib=5)
    monkeypatch.setattr(engine, "rewards", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.score(group(2))
    assert engine.prompts.stats.prompts == 0


def test_other_weights_start_with_nothing(
    random_checkpoint: Path, smallest_checkpoint: Path
) -> None:
    responses = group(3)
    first, second = (
        Engine.load(EngineConfig(model=str(folder), prompt_cache_mib=mib))
        for folder, mib in ((random_checkpoint, 8), (smallest_checkpoint, 8))
    )
    rewards(first, responses)
    plain = Engine.load(EngineConfig(model=str(smallest_checkpoint), prompt_cache_mib=0))
    assert rewards(second, responses) == rewards(plain, responses)
    assert second.prompts.stats.hits == 0


@given(mix=encoding_mixes(), numerics=st.sampled_from(["invariant", "fast"]), seed=st.integers(0))
def test_a_batch_with_kept_prompts_reads_back_every_sequence(
    mix: list[Encoding], numerics: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    prompts = {key: e.prompt_len for e in mix if (key := prompt_key(e)) and rng.random() < 0.5}
    ids = {key: e.input_ids[: e.prompt_len] for e in mix if (key := prompt_key(e))}
    batch = pack(mix, numerics, 1, prompts)
    assert set(batch.cached) == set(prompts)
    keys_C = np.concatenate([*(ids[key] for key in batch.cached), batch.input_ids_T])
    for encoding, last in zip(mix, batch.last_token_N, strict=True):
        at = next(i for i, s in enumerate(batch.segments) if s.end == last + 1 + batch.n_cached)
        path: list[Any] = []
        while at >= 0:
            segment = batch.segments[at]
            path.insert(0, keys_C[segment.start : segment.end])
            assert segment.depth + len(path[0]) <= encoding.n_tokens
            at = segment.parent
        assert np.concatenate(path).tolist() == encoding.input_ids.tolist()


def test_a_plan_counts_kept_prompts_and_those_of_earlier_groups_once() -> None:
    responses = group(6, prompt=60, response=10)
    assert [len(g) for g in plan(responses, "invariant", 80)] == [2, 2, 2]
    assert [len(g) for g in plan(responses, "invariant", 80, cached=())] == [2, 4]
    key = prompt_key(responses[0])
    assert key is not None
    assert [len(g) for g in plan(responses, "invariant", 80, cached={key})] == [6]
