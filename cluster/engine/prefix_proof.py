"""Prefix-cache proof at load: a cached prompt gives the bits of a computed one.

A model may share keys between layers, or run layers that go past the packed attention: what its
attention was handed is then not all that a response needs. So one response is scored with its
prompt computed and again with its prompt kept; where the two differ, no prompt is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cluster.engine.prefix_cache import PromptCache
from cluster.errors import RewardError
from cluster.types import Encoding, Score

PROMPT_TOKENS = 64
LONGEST_WINDOW = 1024
"""Windows up to this are crossed by the proof's prompt; what crosses longer ones is left to the
tests of the attention backends."""
RESPONSE_TOKENS = 8
NOISE = 2.0**-4
"""How far, of the reward or of 1, a hit may be from a miss outside `invariant`: 16 bfloat16 ulp."""

ScoreFn = Callable[[Sequence[Encoding]], Sequence[Score | RewardError]]


def prove(score: ScoreFn, prompts: PromptCache, config: Any, max_tokens: int, exact: bool) -> bool:
    """Whether a hit gives what a miss gives: its bits where `exact`. Leaves `prompts` empty.

    config: the model's own.
    """
    first, second = _responses(config, max_tokens)
    prompts.clear()
    computed = _reward(score, second)
    prompts.clear()
    _reward(score, first)
    before = prompts.stats.hits
    kept = _reward(score, second)
    hit = prompts.stats.hits == before + 1
    prompts.clear()
    if not hit or computed is None or kept is None:
        return False
    return kept == computed if exact else abs(kept - computed) <= NOISE * max(1.0, abs(computed))


def _responses(config: Any, max_tokens: int) -> tuple[Encoding, Encoding]:
    """Two responses of random ids to a prompt that is longer than the model's window."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None) or 0
    length = PROMPT_TOKENS + min(int(window), LONGEST_WINDOW)
    length = max(1, min(length, max_tokens - RESPONSE_TOKENS))
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, text.vocab_size, length, dtype=np.int32)
    own = rng.integers(0, text.vocab_size, (2, RESPONSE_TOKENS), dtype=np.int32)
    first, second = (Encoding(np.concatenate([prompt, row]), length) for row in own)
    return first, second


def _reward(score: ScoreFn, encoding: Encoding) -> float | None:
    result = score([encoding])[0]
    return result.reward if isinstance(result, Score) else None
