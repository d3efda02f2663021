"""Checkpoints of a run: a folder a step, whole or not there, from which training goes on.

Invariant: a run that goes on from a checkpoint ends with the bits of one that was never broken, on
the same machine. step-000100/ holds `model/`, which transformers, TRL and the engine load;
`state/`, accelerate's: weights, moments, random states of every process; and `step.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.rlhf.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints in `folder`, of which the newest `keep` stay."""

    folder: Path
    keep: int

    def steps(self) -> list[int]:
        """Steps that there is a whole checkpoint of, rising."""
        found = self.folder.glob("step-*/step.json")
        return sorted(int(path.parent.name.removeprefix("step-")) for path in found)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:06}"

    def resume(self, trainer: Trainer) -> int:
        """Bring `trainer` to the newest checkpoint; its step, 0 where there is none."""
        steps = self.steps()
        if not steps:
            return 0
        trainer.accelerator.load_state(str(self.path(steps[-1]) / "state"))
        trainer.step_number = steps[-1]
        return steps[-1]

    def write(self, trainer: Trainer, save_model: Callable[[Path], None]) -> None:
        """Every process calls this; `save_model` is given the folder for the model."""
        path = self.path(trainer.step_number)
        temp = path.with_name(f".{path.name}.tmp")
        main = trainer.accelerator.is_main_process
        if main:
            shutil.rmtree(temp, ignore_errors=True)  # of a run that was killed
            temp.mkdir(parents=True)
        trainer.accelerator.wait_for_everyone()
        trainer.accelerator.save_state(str(temp / "state"))
        save_model(temp / "model")
        trainer.accelerator.wait_for_everyone()
        if main:
            (temp / "step.json").write_text(json.dumps({"step": trainer.step_number}))
            temp.rename(path)
            for step in self.steps()[: -self.keep]:
                shutil.rmtree(self.path(step))
