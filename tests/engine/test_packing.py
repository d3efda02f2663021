"""Reading a sequence's segments from the root down gives back exactly its ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mixes import encoding_mixes

from cluster.engine.packing import Batch, common_prefix, pack, plan
from cluster.types import Encoding, Numerics

NUMERICS: list[Numerics] = ["reference", "invariant", "fast"]


def path_of(batch: Batch, index: int) -> list[int]:
    """Segments of a sequence, root first."""
    last = batch.last_token_N[index]
    at = next(i for i, s in enumerate(batch.segments) if s.start <= last < s.end)
    path = []
    while at >= 0:
        path.append(at)
        at = batch.segments[at].parent
    return path[::-1]


def tokens_of(batch: Batch, index: int) -> tuple[list[int], list[int]]:
    """Ids and positions of a sequence, read back along its segments."""
    runs = [batch.segments[i] for i in path_of(batch, index)]
    ids = np.concatenate([batch.input_ids_T[s.start : s.end] for s in runs])
    positions = np.concatenate([batch.position_ids_T[s.start : s.end] for s in runs])
    return ids.tolist(), positions.tolist()


@pytest.mark.parametrize("numerics", NUMERICS)
@given(mix=encoding_mixes(max_id=3), min_shared=st.sampled_from([1, 4, 16]))
def test_every_sequence_reads_back_with_positions_from_zero(
    numerics: Numerics, mix: list[Encoding], min_shared: int
) -> None:
    batch = pack(mix, numerics, min_shared)
    for index, encoding in enumerate(mix):
        ids, positions = tokens_of(batch, index)
        assert ids == encoding.input_ids.tolist()
        assert positions == list(range(len(ids)))


@pytest.mark.parametrize("numerics", NUMERICS)
@given(mix=encoding_mixes(max_id=3))
def test_the_tokens_below_a_segment_are_one_run_behind_it(
    numerics: Numerics, mix: list[Encoding]
) -> None:
    batch = pack(mix, numerics, 2)
    for index, segment in enumerate(batch.segments):
        below = {i for i in range(len(batch.segments)) if index in ancestors(batch, i)}
        inside = {
            i
            for i, s in enumerate(batch.segments)
            if segment.end <= s.start and s.end <= segment.subtree_end
        }
        assert below == inside


def ancestors(batch: Batch, index: int) -> set[int]:
    found = set()
    while (index := batch.segments[index].parent) >= 0:
        found.add(index)
    return found


@pytest.mark.parametrize("numerics", NUMERICS)
@given(mix=encoding_mixes(max_id=3), budget=st.integers(1, 300))
def test_a_plan_covers_each_index_once_and_keeps_to_the_budget(
    numerics: Numerics, mix: list[Encoding], budget: int
) -> None:
    groups = plan(mix, numerics, budget, 4)
    assert sorted(i for group in groups for i in group) == list(range(len(mix)))
    for group in groups:
        batch = pack([mix[i] for i in group], numerics, 4)
        longest = max(mix[i].n_tokens for i in group)
        over = longest if longest > budget else 0
        assert batch.n_unique_tokens <= budget + over


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_responses_to_a_prompt_longer_than_the_budget_share_it(numerics: Numerics) -> None:
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, 1000, 2100, dtype=np.int32)
    chats = [np.concatenate([prompt, rng.integers(0, 1000, 30, dtype=np.int32)]) for _ in range(8)]
    encodings = [*(Encoding(ids, 2100) for ids in chats), Encoding(chats[0][1:])]
    groups = plan(encodings, numerics, 2048)
    batches = [pack([encodings[i] for i in group], numerics) for group in groups]
    assert sorted(len(group) for group in groups) == [1, 8]
    assert sum(b.n_unique_tokens for b in batches) <= 2100 + 8 * 30 + 2129


def test_what_shares_little_with_a_long_sequence_does_not_join_it() -> None:
    chats = [np.arange(300, dtype=np.int32), np.arange(20, dtype=np.int32) % 19 + 1]
    assert len(plan([Encoding(ids) for ids in chats], "fast", 100)) == 2


@pytest.mark.parametrize("numerics", NUMERICS)
def test_without_a_budget_each_distinct_chat_is_alone(numerics: Numerics) -> None:
    chats = [Encoding(np.array([*range(50), 60 + i], np.int32), 50) for i in range(4)]
    assert sorted(map(len, plan(chats, numerics, 0))) == [1, 1, 1, 1]


def test_a_shared_prompt_is_stored_once_for_all_its_responses() -> None:
    prompt = list(range(100))
    group = [Encoding(np.array([*prompt, 200 + i], np.int32), 100) for i in range(8)]
    assert pack(group, "reference").n_unique_tokens == 8 * 101
    assert pack(group, "invariant").n_unique_tokens == 100 + 8
    assert pack(group, "fast").n_unique_tokens == 100 + 8


def test_fast_shares_at_any_depth() -> None:
    a, b, c = [1] * 20, [2] * 20, [3] * 20
    chats = [a + b + c, a + b + b, a + c + c]
    batch = pack([Encoding(np.array(ids, np.int32)) for ids in chats], "fast", 16)
    assert batch.n_unique_tokens == 20 + (20 + 20 + 20) + 40


def test_fast_leaves_a_prefix_below_the_minimum_alone() -> None:
    chats = [np.array([1, 2, 3, i], np.int32) for i in range(4)]
    assert pack([Encoding(ids) for ids in chats], "fast", 4).n_unique_tokens == 16
    assert pack([Encoding(ids) for ids in chats], "fast", 3).n_unique_tokens == 7


def test_equal_sequences_are_computed_once() -> None:
    same = [Encoding(np.arange(50, dtype=np.int32), 20)] * 5
    for numerics in NUMERICS:
        assert pack(same, numerics).n_unique_tokens == 50


def test_invariant_keeps_equal_ids_with_different_splits_apart() -> None:
    ids = np.arange(50, dtype=np.int32)
    batch = pack([Encoding(ids, 20), Encoding(ids, 30), Encoding(ids, 0)], "invariant")
    assert batch.n_unique_tokens == 150


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_prefix_agrees_with_counting(a: list[int], b: list[int]) -> None:
    expected = 0
    while expected < min(len(a), len(b)) and a[expected] == b[expected]:
        expected += 1
    assert common_prefix(np.array(a, np.int32), np.array(b, np.int32)) == expected
