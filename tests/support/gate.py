"""A gate that a test shuts: work under way stays under way until the test opens it.

It is a file, so that processes anywhere on the machine see it. No test then depends on how quick
the machine is. Needs no running Ray.
"""

from __future__ import annotations

import functools
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from ray import cloudpickle

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.errors import RewardError
from cluster.serving.replica.backends import BackendFactory, SleepBackend
from cluster.types import Encoding, Score

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]


class Gate:
    """Shut by `shut`, open by `open` and at first; `n_held` counts what has come to it shut."""

    def __init__(self, folder: Path) -> None:
        """folder: an empty one that is there."""
        self._folder = folder
        self._bar = folder / "shut"

    def shut(self) -> None:
        self._bar.touch()

    def open(self) -> None:
        self._bar.unlink(missing_ok=True)

    @property
    def n_held(self) -> int:
        """How often something has come to the gate while it was shut, since ever."""
        return len(list(self._folder.glob("held-*")))

    def pass_through(self) -> None:
        """Waits while the gate is shut."""
        if self._bar.exists():
            (self._folder / f"held-{uuid.uuid4().hex}").touch()
        while self._bar.exists():
            time.sleep(0.01)


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
