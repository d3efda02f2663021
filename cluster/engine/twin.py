"""Float32 twin of a model for the proof at load: whole where small, else its first layers.

The copy's windows are short, so that short chats reach beyond them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

WHOLE_PARAMETERS = 50_000_000
"""A model of more is copied with its first layers alone."""
WINDOW = 16
"""Tokens of the copy's windows where the model's are longer."""
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")


def float32_twin(module: Any) -> Any:
    """A copy of `module` in float32 on the same device, which shares nothing with it."""
    kept = _n_kept(module)
    with first_layers(module):
        twin = copy.deepcopy(module)
    twin.float().eval().requires_grad_(False)
    text = twin.config.get_text_config()
    if kept < n_layers(module):
        text.num_hidden_layers = kept
    for part in (text, *twin.modules()):
        for name in _WINDOWS:
            window = getattr(part, name, None)
            if isinstance(window, int) and window > WINDOW:
                setattr(part, name, WINDOW)
    return twin


def n_layers(module: Any) -> int:
    """Layers of a model, as its config says."""
    return int(module.config.get_text_config().num_hidden_layers)


@contextmanager
def first_layers(module: Any) -> Iterator[None]:
    """Within, a large `module` has only its first layers, one of each kind among them."""
    found, kept = _layers(module), _n_kept(module)
    if found is None or kept == n_layers(module):
        yield
        return
    layers = getattr(*found)
    setattr(*found, layers[:kept])
    try:
        yield
    finally:
        setattr(*found, layers)


def _n_kept(module: Any) -> int:
    """Layers of the copy: all of a small model, else two and one of each kind at least."""
    n = n_layers(module)
    found = _layers(module)
    if found is None or sum(p.numel() for p in module.parameters()) <= WHOLE_PARAMETERS:
        return n
    types = getattr(module.config.get_text_config(), "layer_types", None) or [""] * n
    kinds = [
        (types[i], tuple(type(part).__name__ for part in layer.modules()))
        for i, layer in enumerate(getattr(*found))
    ]
    return min(n, max(2, *(kinds.index(kind) + 1 for kind in kinds)))


def _layers(module: Any) -> tuple[nn.Module, str] | None:
    """(parent, attribute) of the list of decoder layers."""
    n = n_layers(module)
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == n:
                return parent, name
    return None
