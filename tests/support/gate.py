"""A gate that a test shuts: work under way stays under way until the test opens it.

It is a file, so that processes anywhere on the machine see it. No test then depends on how quick
the machine is. Needs no running Ray.
"""

from __future__ import annotations

import functools
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ray import cloudpickle

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.errors import RewardError
from cluster.serving.replica.backends import BackendFactory, SleepBackend
from cluster.types import Encoding, Score

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]


class Gate:
    """Open but within `with gate.shut():`. n_held counts what has come to it shut."""

    def __init__(self, folder: Path) -> None:
        """folder: an empty one that is there."""
        self._folder = folder
        self._bar = folder / "shut"

    @contextmanager
    def shut(self) -> Iterator[None]:
        self._bar.touch()
        try:
            yield
        finally:
            self._bar.unlink()

    def admit_one(self) -> None:
        """Lets one through that waits, or the next that comes, though the gate is shut."""
        self._mark("pass")

    @property
    def n_held(self) -> int:
        """How often something has come to the gate while it was shut, since ever."""
        return len(list(self._folder.glob("held-*")))

    def pass_through(self) -> None:
        """Waits while the gate is shut."""
        if self._bar.exists():
            self._mark("held")
        while self._bar.exists() and not self._admitted():
            time.sleep(0.01)

    def _mark(self, kind: str) -> None:
        (self._folder / f"{kind}-{uuid.uuid4().hex}").touch()

    def _admitted(self) -> bool:
        for each in self._folder.glob("pass-*"):
            with suppress(FileNotFoundError):  # somebody else took it
                each.unlink()
                return True
        return False


class GatedBackend(SleepBackend):
    """A fake GPU that takes no time, whose forwards begin at a gate."""

    def __init__(self, config: EngineConfig, gate: Gate) -> None:
        super().__init__(config, FakeGpuConfig(launch_s=0.0, flops_per_token=1e-9, flops=1.0))
        self._gate = gate

    def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        self._gate.pass_through()
        return super().score(encodings)


def gated(gate: Gate) -> BackendFactory:
    """The backend of every replica of a service: all share the gate."""
    return functools.partial(_made, gate)


def _made(gate: Gate, config: EngineConfig) -> GatedBackend:
    return GatedBackend(config, gate)
