"""Encodings -> Batch: no padding, a shared prefix stored once, equal sequences scored once.

A Batch is flat arrays. Its unit is the segment: a run of tokens whose context is its ancestors'
tokens followed by its own. Segments lie in depth-first order, so that all the tokens which see a
segment from below are one contiguous run behind it.

Invariant: reading a sequence's segments from the root down gives back exactly its ids, and
positions count from 0 along that path.

Knows nothing of torch: the scheduler plans with it too. Shape legend: T unique tokens,
S segments, N sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cluster.types import Encoding, Numerics, TokenIds

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens [start, end) of the batch, at positions depth .. depth + end - start.

    parent: index of the parent segment, -1 for a root.
    subtree_end: tokens [end, subtree_end) are its descendants.
    """

    start: int
    end: int
    depth: int
    parent: int
    subtree_end: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one forward computes.

    input_ids_T, position_ids_T: int32 [T].  segments: S of them, depth first.
    last_token_N: int64 [N], where each sequence's pooled token lies among the T.
    n_tokens: tokens of all N sequences, shared ones counted for each.
    """

    input_ids_T: TokenIds
    position_ids_T: TokenIds
    segments: tuple[Segment, ...]
    last_token_N: IntArray
    n_tokens: int

    @property
    def n_unique_tokens(self) -> int:
        return len(self.input_ids_T)

    def __len__(self) -> int:
        return len(self.last_token_N)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One distinct sequence, the callers' indices that want it, and its sort key."""

    ids: TokenIds
    prompt_len: int
    key: bytes
    wanted_by: list[int]


def pack(
    encodings: Sequence[Encoding], numerics: Numerics = "fast", min_shared_tokens: int = 16
) -> Batch:
    """One Batch of all `encodings`, in whatever order packs best; `last_token_N` follows theirs.

    `reference` shares nothing but equal sequences; `invariant` splits a sequence at its own
    prompt_len and shares equal prompts; `fast` shares any common prefix of at least
    `min_shared_tokens`, at any depth.
    """
    distinct = _distinct(encodings, numerics)
    builder = _Builder(len(encodings))
    if numerics == "fast":
        _build_tree(builder, distinct, min_shared_tokens)
    elif numerics == "invariant":
        _build_prompts(builder, distinct)
    else:
        for sequence in distinct:
            builder.leaf(sequence, 0, -1)
    return builder.batch(sum(e.n_tokens for e in encodings))


def plan(
    encodings: Sequence[Encoding],
    numerics: Numerics,
    token_budget: int,
    min_shared_tokens: int = 16,
) -> list[list[int]]:
    """Cut `encodings` into groups of indices whose unique tokens stay within `token_budget`.

    Neighbours that share a prefix stay together. A sequence longer than the budget is a group
    of its own.
    """
    groups: list[list[int]] = []
    room = 0
    previous: _Sequence | None = None
    for sequence in _distinct(encodings, numerics):
        cost = len(sequence.ids)
        saved = _shared(previous, sequence, numerics, min_shared_tokens) if previous else 0
        if previous is not None and cost - saved <= room:
            groups[-1].extend(sequence.wanted_by)
            room -= cost - saved
        else:
            groups.append(list(sequence.wanted_by))
            room = token_budget - cost
        previous = sequence
    return groups


def _distinct(encodings: Sequence[Encoding], numerics: Numerics) -> list[_Sequence]:
    """Distinct sequences in lexicographic order, so that shared prefixes are neighbours.

    Big-endian bytes of non-negative ids sort as the ids do. Outside `fast` the place of the
    split is part of a sequence's identity, as it decides the bits.
    """
    found: dict[tuple[bytes, int], _Sequence] = {}
    for index, encoding in enumerate(encodings):
        ids = encoding.input_ids
        key = ids.astype(">i4").tobytes()
        split = 0 if numerics == "fast" else encoding.prompt_len % len(ids)
        sequence = found.get((key, split))
        if sequence is None:
            found[key, split] = _Sequence(ids, split, key, [index])
        else:
            sequence.wanted_by.append(index)
    return sorted(found.values(), key=lambda s: (s.key[: 4 * s.prompt_len], s.prompt_len, s.key))


def _shared(a: _Sequence, b: _Sequence, numerics: Numerics, min_shared_tokens: int) -> int:
    """Tokens that neighbours a, b share in a batch for certain.

    In `fast` the tree may stop up to min_shared_tokens - 1 short of their common prefix.
    """
    if numerics == "fast":
        return max(0, common_prefix(a.ids, b.ids) - min_shared_tokens + 1)
    if numerics == "invariant" and a.prompt_len == b.prompt_len:
        prompt = 4 * a.prompt_len
        return a.prompt_len if a.key[:prompt] == b.key[:prompt] else 0
    return 0


def common_prefix(a: TokenIds, b: TokenIds) -> int:
    """Length of the longest common prefix of two id arrays."""
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    first = int(differs.argmax()) if n else 0
    return first if n and differs[first] else n


class _Builder:
    """Appends segments depth first and keeps the flat arrays."""

    def __init__(self, n_sequences: int) -> None:
        self._runs: list[TokenIds] = []
        self._open: list[tuple[int, int, int, int]] = []
        self._ends: dict[int, int] = {}
        self._n_tokens = 0
        self._last_token_N = np.zeros(n_sequences, np.int64)

    def segment(self, run: TokenIds, depth: int, parent: int) -> int:
        """Append a run of tokens; its index. `finish` it once its descendants are in."""
        start = self._n_tokens
        self._n_tokens += len(run)
        self._runs.append(run)
        self._open.append((start, self._n_tokens, depth, parent))
        return len(self._open) - 1

    def finish(self, segment: int) -> None:
        self._ends[segment] = self._n_tokens

    def leaf(self, sequence: _Sequence, depth: int, parent: int) -> None:
        """Append the rest of a sequence from `depth` on."""
        index = self.segment(sequence.ids[depth:], depth, parent)
        self.finish(index)
        self.ends_at(sequence, index)

    def ends_at(self, sequence: _Sequence, segment: int) -> None:
        """The sequence's last token is the segment's last."""
        self._last_token_N[sequence.wanted_by] = self._open[segment][1] - 1

    def batch(self, n_tokens: int) -> Batch:
        segments = tuple(Segment(*part, self._ends[i]) for i, part in enumerate(self._open))
        positions = [np.arange(s.depth, s.depth + s.end - s.start) for s in segments]
        return Batch(
            np.concatenate(self._runs, dtype=np.int32),
            np.concatenate(positions, dtype=np.int32),
            segments,
            self._last_token_N,
            n_tokens,
        )


def _build_prompts(builder: _Builder, distinct: list[_Sequence]) -> None:
    """One root a prompt, one leaf a response; sequences without a split are roots alone."""
    open_key, root = b"", -1
    for sequence in distinct:
        split = sequence.prompt_len
        key = sequence.key[: 4 * split]
        if root >= 0 and key != open_key:
            builder.finish(root)
            root = -1
        if split and root < 0:
            root, open_key = builder.segment(sequence.ids[:split], 0, -1), key
        builder.leaf(sequence, split, root)
    if root >= 0:
        builder.finish(root)


def _build_tree(builder: _Builder, distinct: list[_Sequence], min_shared: int) -> None:
    """A radix tree over sorted sequences, with an explicit stack as chats nest deep.

    lcp[i] is the prefix that sequence i shares with its predecessor; within a run of the sorted
    order, the smallest lcp is what all of the run share.
    """
    lcp = [0] + [common_prefix(a.ids, b.ids) for a, b in pairwise(distinct)]
    todo: list[tuple[int, int, int, int]] = [(0, len(distinct), 0, -1)]
    while todo:
        low, high, depth, parent = todo.pop()
        if high < 0:
            builder.finish(low)
            continue
        blocks = list(_blocks(lcp, low, high, depth + min_shared))
        if len(blocks) > 1:
            todo.extend((a, b, depth, parent) for a, b in reversed(blocks))
        elif high - low == 1:
            builder.leaf(distinct[low], depth, parent)
        else:
            shared = min(lcp[low + 1 : high])
            node = builder.segment(distinct[low].ids[depth:shared], depth, parent)
            if len(distinct[low].ids) == shared:
                builder.ends_at(distinct[low], node)
                low += 1
            todo.append((node, -1, 0, 0))
            todo.append((low, high, shared, node))


def _blocks(lcp: list[int], low: int, high: int, need: int) -> Iterator[tuple[int, int]]:
    """Maximal runs of [low, high) whose neighbours share at least `need` tokens."""
    start = low
    for i in range(low + 1, high):
        if lcp[i] < need:
            yield start, i
            start = i
    yield start, high
