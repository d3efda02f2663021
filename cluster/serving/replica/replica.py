"""Replica deployment: one backend on one device.

The forward runs in a thread of its own, so the event loop answers health checks and slot
reservations during a long batch. A device stuck in one forward fails the health check and Serve
replaces the replica; after a fatal device error the process ends at once, because it could only
answer with more failures.

If new weights cannot be loaded, the old ones keep serving: Serve would stop a replica whose
`reconfigure` fails, so the failure goes into the log, a metric and `info` instead. Only a failure
of the first load fails the replica. Knows nothing of callers, queues or retries.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException

from cluster.config import EngineConfig, WeightsConfig
from cluster.errors import NotReady, RewardError
from cluster.serving.metrics import WEIGHTS_REFUSED
from cluster.serving.protocol import BatchResult, ServedModel, from_bytes, to_bytes
from cluster.serving.ray_metrics import RaySink
from cluster.serving.replica.backends import BackendFactory
from cluster.serving.replica.exclusive_access import ExclusiveAccess
from cluster.serving.replica.loaded_weights import Loaded, engine_of, refused, require_room
from cluster.serving.replica.prefix_cache_metrics import PromptMetrics, prompt_stats
from cluster.serving.replica.weights_announcement import announce
from cluster.settings.parsing import parse_config
from cluster.types import EncodedBatch, ModelInfo, PromptCacheStats, Score

logger = logging.getLogger("ray.serve.reward_cluster")

FATAL_SIGNS = ("CUDA error", "device-side assert", "uncorrectable ECC", "NCCL error")
"""Parts of error messages after which the process's CUDA context is lost."""


class Replica:
    """Scores one batch at a time on one device."""

    def __init__(
        self, engine: EngineConfig, make_backend: BackendFactory, stuck_after_s: float
    ) -> None:
        """Loads nothing: Serve calls `reconfigure` with the weights right afterwards."""
        self._engine = engine
        self._make_backend = make_backend
        self._stuck_after_s = stuck_after_s
        self._device = ThreadPoolExecutor(1, "device")
        self._use = ExclusiveAccess()
        self._busy_since: float | None = None
        self._loaded: Loaded | None = None
        self._load_error: str | None = None
        self._sink = RaySink() if _inside_serve() else None
        self._prompts = PromptMetrics(self._sink) if self._sink else None
        self._background: set[asyncio.Task[None]] = set()

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Serve the weights that `user_config` names (a `WeightsConfig`).

        Raises only if there are no older weights that could keep serving.
        """
        try:
            weights = parse_config(WeightsConfig, user_config)
            await self._load(engine_of(self._engine, weights), weights.drop_old_first)
        except Exception as error:
            if self._loaded is None:
                raise
            self._load_error = f"{type(error).__name__}: {error}"
            logger.exception("the old weights serve on: %s cannot be used", dict(user_config))
        else:
            self._load_error = None
        self._show_refusal()

    async def _load(self, engine: EngineConfig, drop_old_first: bool) -> None:
        """Load in the device thread, between two batches: loading changes state of the whole
        process (default dtype, threads) that a concurrent forward would see. Batches wait
        meanwhile."""
        if self._loaded is not None and self._loaded.engine == engine:
            return
        old_load = None if self._loaded is None else self._loaded.load
        async with self._use.shared():  # a death while loading is not a suspect batch's fault
            new = await self._on_device(self._make, engine, drop_old_first)
        if old_load is None:
            # Nothing waits for it: the batcher may not run yet.
            self._in_background(announce(new, None))
        else:
            await announce(new, old_load)
        self._loaded = new
        logger.info("serving %s at revision %s", engine.model, new.source.revision)

    def _make(self, engine: EngineConfig, drop_old_first: bool) -> Loaded:
        if self._loaded is None:
            return Loaded(self._make_backend(engine), engine)
        if not drop_old_first:
            require_room(self._loaded.backend.info, engine)
            return Loaded(self._make_backend(engine), engine)
        self._loaded = None
        gc.collect()
        self._loaded = Loaded(self._make_backend(engine), engine)
        return self._loaded

    async def score(self, batch: EncodedBatch, hold: str | None = None) -> BatchResult:
        """One forward over `batch`; waits for the previous one.

        hold: the token with which the batch runs alone; HoldLost if the hold has expired.
        """
        async with self._use.shared() if hold is None else self._use.alone(hold):
            result: BatchResult = await self._on_device(self._forward, batch)
        return result

    async def score_bytes(self, batch: bytes, hold: str | None = None) -> bytes:
        """`score` for another process: its batch and its result as `bytes`."""
        return to_bytes(await self.score(from_bytes(batch), hold))

    async def hold(self) -> str:
        """Wait until every earlier batch has ended; later ones wait for the holder's."""
        return await self._use.hold()

    async def info(self) -> ModelInfo:
        """The model that serves. Raises NotReady while there is none."""
        return (await self.served()).info

    async def served(self) -> ServedModel:
        """The model that serves, and the config of its encoder. Raises NotReady."""
        if self._loaded is None:
            raise NotReady("the old weights are dropped and the new ones are not loaded yet")
        info = replace(self._loaded.backend.info, load_error=self._load_error)
        return ServedModel(info, self._loaded.engine)

    async def prompt_cache(self) -> PromptCacheStats:
        """Prompt cache totals of the weights that serve; all 0 if no prompts are cached."""
        return prompt_stats(self._loaded and self._loaded.backend)

    async def check_health(self) -> None:
        """Called by Serve; raises if the replica should be replaced."""
        if self._sink is not None:
            self._sink.repeat_gauges()
        started = self._busy_since
        if started is not None and time.monotonic() - started > self._stuck_after_s:
            raise RuntimeError(f"device stuck: one forward is running for {self._stuck_after_s} s")

    async def _on_device(self, work: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._device, work, *args)

    def _forward(self, batch: EncodedBatch) -> BatchResult:
        assert self._loaded is not None, "Serve calls reconfigure before anything else"
        started = self._busy_since = time.monotonic()
        try:
            before = prompt_stats(self._loaded.backend).computed_tokens
            scores = _score(self._loaded, batch)
            wall_s = time.monotonic() - started
            stats = prompt_stats(self._loaded.backend)
            if self._prompts is not None:
                self._prompts.show(stats)
            arithmetic = self._loaded.source.arithmetic
            result = BatchResult.from_scores(scores, self._loaded.load, arithmetic)
            computed = stats.computed_tokens - before
            return replace(result, wall_s=wall_s, computed_tokens=computed)
        except Exception as error:
            if any(sign in str(error) for sign in FATAL_SIGNS):
                logger.exception("device lost; this replica ends and Serve starts another")
                os._exit(1)
            raise
        finally:
            self._busy_since = None

    def _show_refusal(self) -> None:
        if self._sink is not None:
            self._sink.record(WEIGHTS_REFUSED, float(self._load_error is not None), {})

    def _in_background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _score(loaded: Loaded, batch: EncodedBatch) -> list[Score | RewardError]:
    """Rewards for what was encoded for this model, errors for the rest."""
    errors = refused(batch, loaded.backend.info)
    sound = {i: e for i, e in enumerate(batch.encodings()) if i not in errors}
    scored = loaded.backend.score(list(sound.values())) if sound else []
    results: dict[int, Score | RewardError] = {**errors, **dict(zip(sound, scored, strict=True))}
    return [results[i] for i in range(len(batch))]


def _inside_serve() -> bool:
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True
