"""Prefix tree of a batch: distinct sequences -> segments, each shared prefix once.

Knows nothing of encodings. Sequences come sorted, so that those which share a prefix are
neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cluster.engine.batch import Batch, PromptKey, Segment
from cluster.types import Numerics, TokenIds


@dataclass(frozen=True, slots=True)
class DistinctSequence:
    """One distinct sequence, the callers' indices that want it, and its sort key."""

    ids: TokenIds
    prompt_len: int
    key: bytes
    indices: list[int]


def common_prefix(a: TokenIds, b: TokenIds) -> int:
    """Length of the longest common prefix of two id arrays."""
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    first = int(differs.argmax()) if n else 0
    return first if n and differs[first] else n


class BatchBuilder:
    """Appends segments depth first and keeps the flat arrays."""

    def __init__(self, n_sequences: int) -> None:
        self._runs: list[TokenIds] = []
        self._open: list[tuple[int, int, int, int]] = []
        self._ends: dict[int, int] = {}
        self._n_tokens = 0
        self._cached: list[PromptKey] = []
        self._n_cached = 0
        self._last_token_N = np.zeros(n_sequences, np.int64)

    def cached(self, key: PromptKey, n_tokens: int) -> int:
        """A root without rows; all of these come before any other segment."""
        self._cached.append(key)
        self._open.append((self._n_tokens, self._n_tokens + n_tokens, 0, -1))
        self._n_tokens = self._n_cached = self._n_tokens + n_tokens
        return len(self._open) - 1

    def segment(self, run: TokenIds, depth: int, parent: int) -> int:
        """Append a run of tokens; its index. `finish` it once its descendants are in."""
        start = self._n_tokens
        self._n_tokens += len(run)
        self._runs.append(run)
        self._open.append((start, self._n_tokens, depth, parent))
        return len(self._open) - 1

    def finish(self, segment: int) -> None:
        self._ends[segment] = self._n_tokens

    def leaf(self, sequence: DistinctSequence, depth: int, parent: int) -> None:
        """Append the rest of a sequence from `depth` on."""
        index = self.segment(sequence.ids[depth:], depth, parent)
        self.finish(index)
        self.ends_at(sequence, index)

    def ends_at(self, sequence: DistinctSequence, segment: int) -> None:
        """The sequence's last token is the segment's last."""
        self._last_token_N[sequence.indices] = self._open[segment][1] - 1 - self._n_cached

    def batch(self, n_tokens: int) -> Batch:
        segments = tuple(Segment(*part, self._ends[i]) for i, part in enumerate(self._open))
        computed = segments[len(self._cached) :]
        positions = [np.arange(s.depth, s.depth + s.end - s.start) for s in computed]
        return Batch(
            np.concatenate(self._runs, dtype=np.int32),
            np.concatenate(positions, dtype=np.int32),
            segments,
            self._last_token_N,
            n_tokens,
            tuple(self._cached),
        )


def build(
    builder: BatchBuilder, distinct: list[DistinctSequence], numerics: Numerics, min_shared: int
) -> None:
    """All `distinct` sequences, sharing what `numerics` allows."""
    if numerics == "fast":
        _build_tree(builder, distinct, min_shared)
    elif numerics == "invariant":
        _build_prompts(builder, distinct)
    else:
        for sequence in distinct:
            builder.leaf(sequence, 0, -1)


def _build_prompts(builder: BatchBuilder, distinct: list[DistinctSequence]) -> None:
    """One root per prompt, one leaf per response; sequences without a split are roots alone."""
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


def build_below(
    builder: BatchBuilder,
    distinct: list[DistinctSequence],
    numerics: Numerics,
    min_shared: int,
    root: int,
) -> None:
    """The responses to the cached prompt `root`."""
    if numerics == "fast":
        _build_tree(builder, distinct, min_shared, distinct[0].prompt_len, root)
    else:
        for sequence in distinct:
            builder.leaf(sequence, sequence.prompt_len, root)
    builder.finish(root)


def _build_tree(
    builder: BatchBuilder,
    distinct: list[DistinctSequence],
    min_shared: int,
    depth: int = 0,
    parent: int = -1,
) -> None:
    """A radix tree over sorted sequences, with an explicit stack as chats nest deep.

    lcp[i] is the prefix that sequence i shares with its predecessor; within a run of the sorted
    order, the smallest lcp is what all of the run share.
    """
    lcp = [0] + [common_prefix(a.ids, b.ids) for a, b in pairwise(distinct)]
    todo: list[tuple[int, int, int, int]] = [(0, len(distinct), depth, parent)]
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
