"""Device limits: tokens of a forward and bytes of kept prompts, by device."""

from __future__ import annotations

import torch

from cluster.config import EngineConfig

CPU_FORWARD_TOKENS = 2048
"""Beyond this, the activations of a forward leave a CPU's cache: larger forwards were a fifth
slower."""


def forward_tokens(config: EngineConfig, device: torch.device) -> int:
    """Maximum unique tokens of a forward on `device`."""
    if device.type == "cpu":
        return min(config.token_budget, CPU_FORWARD_TOKENS)
    return config.token_budget


def largest_forward(config: EngineConfig, device: torch.device, max_tokens: int) -> int:
    """Maximum rows of a forward on `device`, for a chat that alone exceeds `forward_tokens`."""
    tokens = forward_tokens(config, device)
    return max(tokens, max_tokens) if device.type == "cpu" else tokens


def prompt_cache_bytes(config: EngineConfig, device: torch.device) -> int:
    """Maximum bytes of prompts cached between batches on `device`."""
    mib = config.prompt_cache_mib
    if config.numerics == "reference":
        return 0
    if mib is None:
        mib = 4096 if device.type == "cuda" else 256
    return mib * 2**20
