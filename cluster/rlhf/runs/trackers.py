"""Experiment trackers: accelerate's TensorBoard and Weights & Biases.

Nothing leaves the machine unless it is asked to: W&B runs offline unless WANDB_MODE says else.
Only the main process of a run holds trackers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from cluster.errors import ConfigError

Tracker = Literal["tensorboard", "wandb"]


class Trackers:
    """The trackers `report_to` of the run in `folder`, told its `settings` once.

    done: steps that an earlier run of the folder has logged; later ones of it are superseded.
    Raises ConfigError naming the extra to install where a tracker's package is missing.
    """

    def __init__(
        self,
        report_to: Sequence[Tracker],
        folder: Path,
        settings: Mapping[str, Any],
        done: int = 0,
    ) -> None:
        check_installed(report_to)
        self._trackers = [_tracker(name, folder, done) for name in report_to]
        for tracker in self._trackers:
            tracker.start()
            tracker.store_init_configuration(_flat(settings))

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._trackers:
            tracker.finish()

    def log(self, row: Mapping[str, Any]) -> None:
        """The numbers of a log row, nested ones by path, at its `step`."""
        values = {
            key: value
            for key, value in _flat(row).items()
            if isinstance(value, int | float) and key != "step"
        }
        for tracker in self._trackers:
            tracker.log(values, step=row["step"])


def check_installed(report_to: Sequence[Tracker]) -> None:
    """Raises ConfigError naming the extra to install."""
    missing = [name for name in report_to if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"report_to {', '.join(missing)} needs: pip install 'reward-cluster[trackers]'"
        )


def _tracker(name: Tracker, folder: Path, done: int) -> Any:
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    if name == "tensorboard":
        return TensorBoardTracker("tensorboard", folder, purge_step=done + 1)
    mode = os.environ.get("WANDB_MODE", "offline")
    return WandBTracker(folder.name, dir=str(folder), mode=mode)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, their keys joined by `/`; what is no scalar as text."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}/")
        else:
            plain = isinstance(value, bool | int | float | str)
            found[prefix + key] = value if plain else str(value)
    return found
