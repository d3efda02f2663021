"""Batch and Segment: the flat token arrays that one forward computes.

A Batch is flat arrays. Its unit is the segment: a run of tokens whose context is its ancestors'
tokens followed by its own. Segments lie in depth-first order, so that all the tokens which see a
segment from below are one contiguous run behind it.

Prompts whose keys and values are known from an earlier batch may stand in front as segments without
rows: the keys of a batch are then those of `n_cached` tokens followed by its own T.

Invariant: reading a sequence's segments from the root down gives back exactly its ids, and
positions count from 0 along that path.

Knows nothing of torch, since the scheduler plans with it too. Shape legend: T unique tokens, S
segments, N sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.types import TokenIds

IntArray = npt.NDArray[np.int64]
PromptKey = bytes
"""Stands for the ids of a prompt."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens [start, end) among the keys of the batch, at positions depth .. depth + end - start.

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
    cached: of each leading segment that is not computed, the prompt whose keys it stands for.
    """

    input_ids_T: TokenIds
    position_ids_T: TokenIds
    segments: tuple[Segment, ...]
    last_token_N: IntArray
    n_tokens: int
    cached: tuple[PromptKey, ...] = ()

    @property
    def n_unique_tokens(self) -> int:
        return len(self.input_ids_T)

    @property
    def n_cached(self) -> int:
        """Keys in front of the batch's own: token i of the keys is row i - n_cached."""
        return self.segments[len(self.cached) - 1].end if self.cached else 0

    @property
    def computed(self) -> tuple[Segment, ...]:
        """The segments that have rows."""
        return self.segments[len(self.cached) :]

    def __len__(self) -> int:
        return len(self.last_token_N)
