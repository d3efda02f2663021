"""Run checkpoints: a folder per step, written atomically.

Invariant: a folder gets its name by one rename, when every process has written its part; the newest
`keep` stay. Knows nothing of what a checkpoint holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints in `folder`. keep: how many of the newest stay, None for all.

    name: what a folder's name begins with. main: whether this process makes and names folders;
    wait: returns once every process of the run has called it.
    """

    folder: Path
    keep: int | None
    name: str = "step"
    digits: int = 6
    main: bool = True
    wait: Callable[[], None] = _nothing

    def path(self, step: int) -> Path:
        return self.folder / f"{self.name}-{step:0{self.digits}}"

    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending."""
        found = self.folder.glob(f"{self.name}-*")
        return sorted(int(path.name.removeprefix(f"{self.name}-")) for path in found)

    def newest(self) -> int:
        """The step of the newest checkpoint; 0 if there is none."""
        return max(self.steps(), default=0)

    def write(self, step: int, save: Callable[[Path], None]) -> None:
        """Every process calls this; `save` writes its part into the folder that it is given."""
        path = self.path(step)
        temp = path.with_name(f".{path.name}.tmp")
        if self.main:
            shutil.rmtree(temp, ignore_errors=True)  # of a run that was killed
            temp.mkdir(parents=True)
        self.wait()
        save(temp)
        self.wait()
        if self.main:
            temp.rename(path)
            for old in self.steps()[: -self.keep] if self.keep else ():
                shutil.rmtree(self.path(old))
