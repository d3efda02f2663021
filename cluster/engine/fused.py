"""Fused layers: norms, rotary, SiLU and residuals in few kernels (torch.compile).

Attention stays what it is: the compiler stops at it and goes on behind it, so that a batch's
AttentionFn is nothing to be compiled. All layers share what is compiled for the first, and row
counts are dynamic. In `invariant` numerics a chat's bits must still not follow its batch, which is
tried once at load; where they do, the layers are left as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface

from cluster.engine.attention import IMPLEMENTATION
from cluster.errors import RewardError
from cluster.types import Encoding, Score

OPAQUE = "segments-opaque"
"""Our attention function, as a compiler sees it."""

ScoreFn = Callable[[Sequence[Encoding]], Sequence[Score | RewardError]]


def has_compiler(device: torch.device) -> bool:
    """Whether torch.compile finds the C++ compiler that it needs on a CPU."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    if device.type != "cpu":
        return True
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


def fuse(module: Any, backend: Any = "inductor") -> None:
    """Compile each decoder layer of `module`, whose attention is ours. Compiles at first use."""
    registry: Any = AttentionInterface
    attention = registry()[IMPLEMENTATION]
    opaque = torch.compiler.disable(attention)  # type: ignore[no-untyped-call]
    registry.register(OPAQUE, opaque)
    module.set_attn_implementation(OPAQUE)
    for layer in module.base_model.layers:
        layer.compile(dynamic=True, backend=backend)


def unfuse(module: Any) -> None:
    """The layers as they were."""
    module.set_attn_implementation(IMPLEMENTATION)
    for layer in module.base_model.layers:
        layer._compiled_call_impl = None


def keeps_bits(score: ScoreFn, vocab_size: int, longest: int) -> bool:
    """Whether chats of several lengths have the same rewards alone and together."""
    rng = np.random.default_rng(0)
    lengths = [min(n, longest) for n in (5, 100, 300, 700)]
    chats = [Encoding(rng.integers(0, vocab_size, n, dtype=np.int32)) for n in lengths]
    together = score(chats)
    alone = [score([chat])[0] for chat in chats]
    return [_reward(s) for s in together] == [_reward(s) for s in alone]


def _reward(result: Score | RewardError) -> float | None:
    return result.reward if isinstance(result, Score) else None
