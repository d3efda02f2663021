"""Plotting: a matplotlib figure as a file, written atomically."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as its suffix says: .png (also without a suffix), .svg or .pdf."""
    temp = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(temp, format=path.suffix[1:] or "png", dpi=120)
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)
