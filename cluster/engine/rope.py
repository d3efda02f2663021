"""Rotary embeddings whose scaling depends on the longest chat of a forward.

transformers picks longrope's factors, and grows dynamic NTK's base, by the largest position of the
whole forward. A chat beyond the switch would change the short ones in its batch, so a model that
may get such chats cannot be packed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def rope_switch(config: Any) -> int | None:
    """Tokens of the longest chat whose scaling is that of all shorter ones; None is any length.

    config: the model's own.
    """
    text = config.get_text_config()
    limit = getattr(text, "max_position_embeddings", None) or 0
    lengths = []
    for parameters in _settings(text):
        kind = str(parameters.get("rope_type", parameters.get("type", "")))
        if kind == "longrope":
            original = parameters.get("original_max_position_embeddings")
            lengths.append(int(original or limit))
        elif "dynamic" in kind:
            lengths.append(int(limit))
    return min(lengths, default=None)


def forget_growth(module: Any) -> None:
    """Reset dynamic NTK: transformers keeps the scaling of the longest chat so far, so order would
    matter."""
    for part in module.modules():
        for name in [n for n in vars(part) if n.endswith("max_seq_len_cached")]:
            prefix = name.removesuffix("max_seq_len_cached")
            original = getattr(part, f"{prefix}original_inv_freq", None)
            first = getattr(part, "original_max_seq_len", None)
            if isinstance(original, Tensor) and first and getattr(part, name) > first:
                current = getattr(part, f"{prefix}inv_freq")
                setattr(part, f"{prefix}inv_freq", original.to(current.device).clone())
                setattr(part, name, first)


def _settings(config: Any) -> Iterator[dict[str, Any]]:
    """The rope settings of a config: one, or one for each type of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in found.values() if isinstance(value, dict)]
    yield from nested or ([found] if found else [])
