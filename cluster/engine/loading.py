"""Weight loading: every tensor comes from the checkpoint, and none is left out silently.

transformers initializes tensors that a checkpoint lacks at random, and drops those that the
architecture does not know. With the first, every replica would give different rewards under one
revision; with the second, rewards would not be the model's.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from cluster.config import EngineConfig
from cluster.engine.checkpoint import load_config, locate, weight_options
from cluster.errors import ModelRefused

log = logging.getLogger(__name__)
HEAD_WORDS = ("score", "head", "classifier", "regression", "reward", "gating", "summary")
"""Parts of names by which heads are recognized."""


def load_module(config: EngineConfig, dtype: torch.dtype, device: torch.device) -> Any:
    """The model as transformers loads it, every tensor from the checkpoint.

    Raises ModelRefused for a checkpoint that cannot be read, lacks a tensor or has one of another
    shape, has a head that is not used, or brings Python code that may not run.
    """
    from transformers import AutoModelForSequenceClassification

    refuse_unread_code(config)
    try:
        module, told = AutoModelForSequenceClassification.from_pretrained(
            locate(config.model),
            dtype=dtype,
            device_map={"": device},
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **weight_options(config),
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelRefused(f"model {config.model!r} cannot be loaded: {error}") from error
    _refuse_gaps(config.model, told, module.base_model_prefix)
    return module


def refuse_unread_code(config: EngineConfig) -> None:
    """Raises ModelRefused for a checkpoint with Python code that may not run: without it, it is
    another model."""
    if getattr(load_config(config), "auto_map", None) and not config.trust_remote_code:
        raise ModelRefused(
            f"{config.model!r} computes its rewards by Python code of its own; read it, then allow "
            "it with trust_remote_code (--trust-remote-code)"
        )


def refuse_missing(model: str, told: Any, new: str | None = None) -> None:
    """Raises ModelRefused for a tensor that is not in the checkpoint or has another shape.

    told: transformers' loading info.  new: first part of the names that may be made anew.
    """
    missing = sorted(name for name in told["missing_keys"] if name.split(".")[0] != new)
    if missing:
        raise ModelRefused(
            f"{model!r} lacks {_some(missing)}: these would be random numbers; save the whole model"
        )
    if other := sorted(entry[0] for entry in told["mismatched_keys"]):
        raise ModelRefused(f"{model!r} has {_some(other)} in another shape than its config")


def _refuse_gaps(model: str, told: Any, body: str) -> None:
    """told: transformers' loading info.  body: the first part of the names of all but the head."""
    unused = sorted(told["unexpected_keys"])
    heads = [name for name in unused if _is_head(name, body)]
    if heads and any(name.startswith("score.") for name in told["missing_keys"]):
        raise ModelRefused(
            f"{model!r} keeps its head as {_some(heads)} and not as the linear `score` of a "
            "*ForSequenceClassification; save it as one, or train one with `reward-cluster train`"
        )
    refuse_missing(model, told)
    if heads:
        raise ModelRefused(
            f"{model!r} has {_some(heads)}, which its architecture does not use: the rewards would "
            "not be the model's"
        )
    if unused:
        log.warning("%s: not used by its architecture: %s", model, _some(unused))


def _is_head(name: str, body: str) -> bool:
    """Outside the body, or called as heads are; what is neither is a leftover of no effect."""
    first, *rest = name.split(".")
    return first != body or any(word in part for part in rest for word in HEAD_WORDS)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
