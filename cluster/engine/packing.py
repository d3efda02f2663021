"""Packing: encodings -> Batch without padding, shared prefixes stored once.

Knows nothing of torch, since the scheduler plans with it too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType

import numpy as np

from cluster.engine.batch import Batch, PromptKey, Segment
from cluster.engine.prefix_tree import (
    BatchBuilder,
    DistinctSequence,
    build,
    build_below,
    common_prefix,
)
from cluster.types import Encoding, Numerics

__all__ = ["Batch", "Segment", "common_prefix", "pack", "plan", "prompt_key"]
NOTHING: Mapping[PromptKey, int] = MappingProxyType({})


def prompt_key(encoding: Encoding) -> PromptKey | None:
    """Of the part before the encoding's split; None if it has none."""
    split = encoding.prompt_len % encoding.n_tokens
    if not split:
        return None
    ids = np.ascontiguousarray(encoding.input_ids[:split], np.int32)
    return blake2b(ids.tobytes(), digest_size=16).digest()


def pack(
    encodings: Sequence[Encoding],
    numerics: Numerics = "fast",
    min_shared_tokens: int = 16,
    cached: Mapping[PromptKey, int] = NOTHING,
) -> Batch:
    """One Batch of all `encodings`, in whatever order packs best; `last_token_N` follows theirs.

    `reference` shares nothing but equal sequences; `invariant` splits a sequence at its own
    prompt_len and shares equal prompts; `fast` shares any common prefix of at least
    `min_shared_tokens`, at any depth. cached: length of each prompt that need not be computed.
    """
    hits: dict[PromptKey, list[int]] = {}
    others: list[int] = []
    for index, encoding in enumerate(encodings):
        key = prompt_key(encoding) if cached else None
        (hits.setdefault(key, []) if key and key in cached else others).append(index)
    builder = BatchBuilder(len(encodings))
    roots = [builder.cached(key, cached[key]) for key in hits]
    for root, indices in zip(roots, hits.values(), strict=True):
        distinct = _distinct(encodings, "invariant", indices)
        build_below(builder, distinct, numerics, min_shared_tokens, root)
    if others:
        build(builder, _distinct(encodings, numerics, others), numerics, min_shared_tokens)
    return builder.batch(sum(e.n_tokens for e in encodings))


def plan(
    encodings: Sequence[Encoding],
    numerics: Numerics,
    token_budget: int,
    min_shared_tokens: int = 16,
    cached: Collection[PromptKey] | None = None,
) -> list[list[int]]:
    """Cut `encodings` into groups of indices whose unique tokens stay within `token_budget`.

    Neighbours that share a prefix stay together. A sequence longer than the budget is a group of
    its own, except that sequences which share a prefix with it join as long as their tokens outside
    that prefix stay within the budget; otherwise the prefix would be computed again for each.
    cached: the prompts that need not be computed, where prompts are kept at all; then those of
    earlier groups cost later ones nothing either.
    """
    groups: list[list[int]] = []
    spent, oversize = 0, False
    known = set(cached or ())
    previous: DistinctSequence | None = None
    for sequence in _distinct(encodings, numerics):
        first = encodings[sequence.indices[0]]
        key = None if cached is None else prompt_key(first)
        cost = first.n_tokens - (first.prompt_len if key in known else 0)
        saved = _shared(previous, sequence, numerics, min_shared_tokens) if previous else 0
        more = min(cost, first.n_tokens - saved)
        uncharged = saved if oversize else 0
        if previous is not None and spent - uncharged + more <= token_budget:
            groups[-1].extend(sequence.indices)
            spent += more
        else:
            groups.append(list(sequence.indices))
            spent = cost
            oversize = cost > token_budget and key not in known
        if key:
            known.add(key)
        previous = sequence
    return groups


def _distinct(
    encodings: Sequence[Encoding], numerics: Numerics, indices: Iterable[int] | None = None
) -> list[DistinctSequence]:
    """Distinct sequences in lexicographic order, so that shared prefixes are neighbours.

    indices: of those among `encodings` that are meant; None is all.

    Big-endian bytes of non-negative ids sort as the ids do. Outside `fast` the place of the
    split is part of a sequence's identity, as it decides the bits.
    """
    found: dict[tuple[bytes, int], DistinctSequence] = {}
    for index in range(len(encodings)) if indices is None else indices:
        encoding = encodings[index]
        ids = encoding.input_ids
        key = ids.astype(">i4").tobytes()
        split = 0 if numerics == "fast" else encoding.prompt_len % len(ids)
        sequence = found.get((key, split))
        if sequence is None:
            found[key, split] = DistinctSequence(ids, split, key, [index])
        else:
            sequence.indices.append(index)
    return sorted(found.values(), key=lambda s: (s.key[: 4 * s.prompt_len], s.prompt_len, s.key))


def _shared(
    a: DistinctSequence, b: DistinctSequence, numerics: Numerics, min_shared_tokens: int
) -> int:
    """Tokens that neighbours a, b are certain to share in a batch.

    In `fast` the tree may stop up to min_shared_tokens - 1 short of their common prefix.
    """
    if numerics == "fast":
        return max(0, common_prefix(a.ids, b.ids) - min_shared_tokens + 1)
    if numerics == "invariant" and a.prompt_len == b.prompt_len:
        prompt = 4 * a.prompt_len
        return a.prompt_len if a.key[:prompt] == b.key[:prompt] else 0
    return 0
