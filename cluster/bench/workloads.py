"""Workloads: random token ids in the shape of rollouts, from fixed seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from cluster.types import Encoding

Workload = Literal["grouped", "ungrouped", "streaming", "long-8k", "long-32k"]
"""`streaming` is `grouped` with one call per response, since rollouts end one after another;
`long-8k` and `long-32k` are responses to one prompt of 8,192 or 32,768 tokens."""
DEFAULT: tuple[Workload, ...] = ("grouped", "ungrouped", "streaming")
LONG: dict[str, int] = {"long-8k": 8192, "long-32k": 32_768}
"""Tokens of the prompt, by workload."""


def make(workload: Workload, vocab_size: int) -> list[Encoding]:
    """The encodings of a workload."""
    if workload == "ungrouped":
        return ungrouped(vocab_size)
    if workload in LONG:
        return long(vocab_size, LONG[workload])
    return grouped(vocab_size)


def long(vocab_size: int, prompt_tokens: int, n_responses: int = 8) -> list[Encoding]:
    """`n_responses` to one prompt of `prompt_tokens` tokens."""
    rng = np.random.default_rng(2)
    prompt = rng.integers(0, vocab_size - 1, prompt_tokens, dtype=np.int32)
    return [_under(prompt, rng, vocab_size) for _ in range(n_responses)]


def grouped(
    vocab_size: int,
    n_prompts: int = 16,
    n_responses: int = 8,
    seed: int = 0,
    header: Sequence[int] = (),
) -> list[Encoding]:
    """`n_responses` to each of `n_prompts` prompts of 100 to 600 tokens, shuffled.

    header: ids at the end of every prompt, such as those by which a service finds the prompt's end.
    """
    rng = np.random.default_rng(seed)
    encodings = []
    for _ in range(n_prompts):
        prompt = rng.integers(0, vocab_size - 1, rng.integers(100, 601), dtype=np.int32)
        if header:
            prompt[-len(header) :] = header
        encodings += [_under(prompt, rng, vocab_size) for _ in range(n_responses)]
    rng.shuffle(encodings)
    return encodings


def ungrouped(vocab_size: int, n: int = 128) -> list[Encoding]:
    """`n` sequences with the lengths of `grouped`, each with a prompt of its own."""
    rng = np.random.default_rng(1)
    return [
        _under(
            rng.integers(0, vocab_size - 1, rng.integers(100, 601), dtype=np.int32), rng, vocab_size
        )
        for _ in range(n)
    ]


def _under(prompt: np.ndarray, rng: np.random.Generator, vocab_size: int) -> Encoding:
    """The prompt with a random response of lognormal length (median 150 tokens, 10 to 800)."""
    length = int(np.clip(rng.lognormal(np.log(150), 0.6), 10, 800))
    response = rng.integers(0, vocab_size - 1, length, dtype=np.int32)
    return Encoding(np.concatenate([prompt, response]), prompt_len=len(prompt), n_bos=0)


def uniform(vocab_size: int, n: int, length: int, seed: int) -> list[Encoding]:
    """`n` sequences of `length` random tokens that share nothing."""
    ids = np.random.default_rng(seed).integers(0, vocab_size - 1, (n, length), dtype=np.int32)
    return [Encoding(row) for row in ids]


def n_tokens(encodings: Sequence[Encoding]) -> int:
    """Number of tokens as a caller counts them: a shared prompt once per response."""
    return sum(e.n_tokens for e in encodings)
