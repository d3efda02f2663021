"""Model export: the trained model as a checkpoint for transformers, TRL and the engine.

Invariant: a saved folder is the whole model in one dtype, adapters merged, whichever way it is
spread over devices while it is trained.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.rlhf.training.config import LoraSettings

State = dict[str, Tensor]
_WRAPPER = "module."
_LORA_A, _LORA_B, _BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer."


def save_model(
    folder: Path,
    module: Any,
    tokenizer: Any,
    state: State,
    dtype: torch.dtype,
    lora: LoraSettings | None = None,
) -> None:
    """Write `state`, the weights of a PackedRewardModel around `module`, to `folder`."""
    weights = {key.removeprefix(_WRAPPER): value for key, value in state.items()}
    if lora is not None:
        weights = merged(weights, lora.alpha / lora.rank)
    weights = {key: value.to(dtype).contiguous() for key, value in weights.items()}
    module.save_pretrained(folder, state_dict=weights)
    config = copy.deepcopy(module.config)
    config.dtype = dtype
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def merged(state: State, scale: float) -> State:
    """Weights with their adapters added: W + scale * B A (LoRA, arXiv 2106.09685)."""
    found: State = {}
    for key, value in state.items():
        if ".lora_" in key:
            continue
        name = key.replace(_BASE, ".")
        layer = key.removesuffix(f"{_BASE}weight")
        if layer != key:
            value = value + scale * (state[layer + _LORA_B] @ state[layer + _LORA_A])
        found[name] = value
    return found
