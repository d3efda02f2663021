"""Training checkpoint contents, and how a trainer resumes from them.

Invariant: a run that resumes from a checkpoint ends with the same bits as an uninterrupted one, on
the same machine. A checkpoint holds `model/`, which transformers, TRL and the engine load, and
`state/`, accelerate's: weights, moments, random states of every process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster.rlhf.runs.checkpoints import Checkpoints
from cluster.rlhf.training.trainer import Trainer


def checkpoints_of(trainer: Trainer, folder: Path, keep: int) -> Checkpoints:
    """In `folder`; written by every process of `trainer`, named by the main one."""
    accelerator = trainer.accelerator
    main, wait = accelerator.is_main_process, accelerator.wait_for_everyone
    return Checkpoints(folder, keep, main=main, wait=wait)


def resume(trainer: Trainer, checkpoints: Checkpoints) -> int:
    """Bring `trainer` to the newest checkpoint; its step, 0 if there is none."""
    step = checkpoints.newest()
    if step:
        trainer.accelerator.load_state(str(checkpoints.path(step) / "state"))
        trainer.step_number = step
    return step


def write(trainer: Trainer, checkpoints: Checkpoints, save_model: Callable[[Path], None]) -> None:
    """Every process calls this; `save_model` is given the folder for the model."""

    def save(folder: Path) -> None:
        trainer.accelerator.save_state(str(folder / "state"))
        save_model(folder / "model")

    checkpoints.write(trainer.step_number, save)
