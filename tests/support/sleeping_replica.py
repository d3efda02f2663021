"""A replica in the test's process that sleeps where others compute. No Ray."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.errors import RewardError
from cluster.serving.replica.backends import SleepBackend
from cluster.serving.replica.replica import Replica
from cluster.types import EncodedBatch, Encoding, Score

CONFIG = EngineConfig(model="m", revision="r1")
FAST = FakeGpuConfig(flops_per_token=0.0)
BATCH = EncodedBatch.from_encodings([Encoding(np.arange(1, n, dtype=np.int32)) for n in (3, 9)])


def sleeper(config: EngineConfig) -> SleepBackend:
    return SleepBackend(config, FAST)


def breakable(config: EngineConfig) -> SleepBackend:
    """A sleeper, unless the revision is `broken`."""
    if config.revision == "broken":
        raise OSError("no such revision")
    return sleeper(config)


class Held(SleepBackend):
    """A forward that lasts until the test lets it go."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, FAST)
        self.running, self.release = threading.Event(), threading.Event()

    def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        self.running.set()
        self.release.wait(30)
        return super().score(encodings)


async def started(make: object, stuck_after_s: float = 60.0) -> Replica:
    replica = Replica(CONFIG, make, stuck_after_s)  # type: ignore[arg-type]
    await replica.reconfigure({})
    return replica
