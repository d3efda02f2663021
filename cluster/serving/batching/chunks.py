"""Chunks of a call: pieces that wait for room one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster.types import Encoding

CHUNK_TOKENS = 500_000
"""A call that waits for room is sent in pieces of at most this many tokens, so that one piece may
wait while others run. A call that does not wait goes in one piece: it is admitted or refused as a
whole."""


def chunks(encodings: Mapping[int, Encoding], max_tokens: int) -> Iterator[dict[int, Encoding]]:
    """Consecutive pieces of at most `max_tokens` tokens, or one longer item alone."""
    chunk: dict[int, Encoding] = {}
    n_tokens = 0
    for i, encoding in encodings.items():
        if chunk and n_tokens + encoding.n_tokens > max_tokens:
            yield chunk
            chunk, n_tokens = {}, 0
        chunk[i] = encoding
        n_tokens += encoding.n_tokens
    if chunk:
        yield chunk
