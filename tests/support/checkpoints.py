"""Checkpoints with other weights than they were saved with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

Change = Callable[[dict[str, Tensor]], object]


def changed(folder: Path, source: Path, change: Change) -> str:
    """`source` copied to `folder`, its weights as `change` leaves them; the folder's name."""
    shutil.copytree(source, folder)
    with safe_open(source / "model.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return str(folder)
