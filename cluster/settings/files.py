"""Config files inside the package: worked examples, and what `serve --local` serves."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "assets" / "configs"


def packaged(name: str) -> Path:
    """The packaged config file `name`, such as `train.yaml`."""
    path = FOLDER / name
    assert path.is_file(), f"{name} is not in the package"
    return path
