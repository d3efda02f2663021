"""Weights from a checkpoint, all of them: nothing is made up and nothing is left out in silence.

transformers draws random numbers for tensors that a checkpoint lacks, and drops those that the
architecture does not know. Either would give every replica a reward of its own under one revision.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch

from cluster.config import EngineConfig
from cluster.engine.checkpoint import load_config, locate, pretrained_options
from cluster.errors import ModelRefused

log = logging.getLogger(__name__)
HEADS = ("score", "value_head", "v_head", "lm_head", "classifier", "regression", "reward")
"""First parts of the names that reward heads have in checkpoints."""


def load_module(config: EngineConfig, dtype: torch.dtype, device: torch.device) -> Any:
    """The model as transformers loads it, every tensor from the checkpoint.

    Raises ModelRefused for a checkpoint that cannot be read, lacks a tensor or has one of another
    shape, has a head that is not used, or brings Python code that may not run.
    """
    from transformers import AutoModelForSequenceClassification

    _refuse_unread_code(config)
    try:
        module, told = AutoModelForSequenceClassification.from_pretrained(
            locate(config.model),
            dtype=dtype,
            device_map={"": device},
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **pretrained_options(config),
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelRefused(f"model {config.model!r} cannot be loaded: {error}") from error
    _refuse_gaps(config.model, told)
    return module


def _refuse_unread_code(config: EngineConfig) -> None:
    """A checkpoint with code of its own is another model without it."""
    if getattr(load_config(config), "auto_map", None) and not config.trust_remote_code:
        raise ModelRefused(
            f"{config.model!r} computes its rewards by Python code of its own; read it, then allow "
            "it with trust_remote_code (--trust-remote-code)"
        )


def _refuse_gaps(model: str, told: Any) -> None:
    """`told`: transformers' loading info."""
    missing = _names(told["missing_keys"])
    other_shape = _names(entry[0] for entry in told["mismatched_keys"])
    unused = _names(told["unexpected_keys"])
    heads = [name for name in unused if name.split(".")[0] in HEADS]
    if missing:
        found = f"; it has {_some(heads)} instead" if heads else ""
        raise ModelRefused(
            f"{model!r} lacks {_some(missing)}{found}: these would be random numbers. Save the "
            "whole model with its scalar head as `score`, or train one with `reward-cluster train`"
        )
    if other_shape:
        raise ModelRefused(f"{model!r} has {_some(other_shape)} in another shape than its config")
    if heads:
        raise ModelRefused(
            f"{model!r} has {_some(heads)}, which its architecture does not use: the rewards would "
            "not be the model's"
        )
    if unused:
        log.warning("%s: not used by its architecture: %s", model, _some(unused))


def _names(keys: Iterable[str]) -> list[str]:
    return sorted(keys)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
