"""The GPU deployment: one backend on one device.

The forward runs in a thread of its own, so the event loop answers health checks and slot
reservations during a long batch. A device stuck in one forward fails the health check and Serve
replaces the replica; after a fatal device error the process ends at once, because everything it
would still answer would be another failure. Knows nothing of callers, queues or retries.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException

from cluster.config import EngineConfig, WeightsConfig, parse_config
from cluster.serving.backends import Backend, BackendFactory
from cluster.serving.slots import SlotLeases, release_abandoned
from cluster.serving.wire import BatchResult
from cluster.types import EncodedBatch, ModelInfo

logger = logging.getLogger("ray.serve.reward_cluster")

FATAL_SIGNS = ("CUDA error", "device-side assert", "uncorrectable ECC", "NCCL error")
"""Parts of messages after which a CUDA context is lost for the whole process."""


class Replica:
    """Scores one batch at a time on one device."""

    def __init__(
        self, engine: EngineConfig, make_backend: BackendFactory, stuck_after_s: float
    ) -> None:
        """Loads nothing: Serve calls `reconfigure` with the weights right after."""
        self._engine = engine
        self._make_backend = make_backend
        self._stuck_after_s = stuck_after_s
        self._device = ThreadPoolExecutor(1, "device")
        self._leases = SlotLeases() if _inside_serve() else None
        self._busy_since: float | None = None
        self._backend: Backend | None = None

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Load the weights that `user_config` names (`model`, `revision`).

        Runs in the device thread between two batches: batches wait meanwhile, none is dropped.
        The old weights serve on if the new ones cannot be loaded (Serve then reports the error).
        """
        weights = parse_config(WeightsConfig, user_config)
        engine = self._engine
        if weights.model or weights.revision:
            engine = dataclasses.replace(
                engine, model=weights.model or engine.model, revision=weights.revision
            )
        loop = asyncio.get_running_loop()
        self._backend = await loop.run_in_executor(self._device, self._make_backend, engine)
        logger.info("serving %s at revision %s", engine.model, self._loaded.info.revision)

    async def score(self, batch: EncodedBatch) -> BatchResult:
        """One forward over `batch`; waits for the one before it."""
        return await asyncio.get_running_loop().run_in_executor(self._device, self._forward, batch)

    async def info(self) -> ModelInfo:
        """What is loaded."""
        return self._loaded.info

    async def check_health(self) -> None:
        """Called by Serve; raises where the replica should be replaced."""
        started = self._busy_since
        if started is not None and time.monotonic() - started > self._stuck_after_s:
            raise RuntimeError(f"device stuck: one forward is running for {self._stuck_after_s} s")
        if self._leases is not None and (n := await release_abandoned(self._leases)):
            logger.warning("%d slots of a dead batcher were given back", n)

    @property
    def _loaded(self) -> Backend:
        assert self._backend is not None, "Serve calls reconfigure before anything else"
        return self._backend

    def _forward(self, batch: EncodedBatch) -> BatchResult:
        self._busy_since = time.monotonic()
        try:
            return BatchResult.from_scores(self._loaded.score(batch.encodings()))
        except Exception as error:
            if any(sign in str(error) for sign in FATAL_SIGNS):
                logger.exception("device lost; this replica ends and Serve starts another")
                os._exit(1)
            raise
        finally:
            self._busy_since = None


def _inside_serve() -> bool:
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True
