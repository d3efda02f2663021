"""Two batchers, real processes, over the same replicas: nobody is blamed for the other's poison."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from support.load import load
from support.processes import actors, kill, pid
from support.serving import PATIENCE_S, service, until

from cluster.config import ClusterConfig, EngineConfig, FakeGpuConfig
from cluster.errors import RewardError, ScoringFailed
from cluster.serving.health_probe import each_answer
from cluster.serving.metrics import Totals
from cluster.serving.names import BATCHER
from cluster.serving.replica.backends import SleepBackend
from cluster.types import Encoding, Score

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

APP = "two-batchers"
POISON = 66
RUNNING = {"RUNNING": 2}


class Brittle(SleepBackend):
    """Its process ends when a sequence begins with the poison token."""

    def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        if any(e.input_ids[0] == POISON for e in encodings):
            os._exit(1)
        return super().score(encodings)


def brittle(config: EngineConfig) -> Brittle:
    return Brittle(config, FakeGpuConfig(flops_per_token=5e-5, flops=1.0))


@pytest.fixture(scope="module")
def client(ray_cluster: Cluster, configure: Callable[..., ClusterConfig]) -> Iterator[Any]:
    config = configure(scheduler={"max_attempts": 2, "dedupe_s": 0.0})
    two = {"num_replicas": 2}
    # A frozen one would be waited for, for a minute, before it is killed.
    batchers = {**two, "health_check_timeout_s": 2, "graceful_shutdown_timeout_s": 2}
    with service(config, APP, two, brittle, batcher_options=batchers) as actor:
        yield actor


def items_of_each() -> list[int]:
    """How many items each batcher has had answered."""
    handle: Any = serve.get_deployment_handle(BATCHER, APP)

    async def ask() -> list[Totals]:
        return [totals async for totals in each_answer(handle, "totals")]

    return [totals.items for totals in asyncio.run(ask())]


def test_poison_under_load_is_blamed_alone_whichever_batcher_it_goes_through(client: Any) -> None:
    with load(client) as running:
        until(lambda: len(items_of_each()) == 2 and min(items_of_each()) > 0)
        for i in range(2):
            poison = np.array([POISON, i, 2], np.int32)
            (answer,) = ray.get(client.score.remote([poison], 0, PATIENCE_S))
            assert isinstance(answer, ScoringFailed), answer
        running.wait_for(6)


def a_batcher() -> tuple[str, Any]:
    """One of two that serve: Serve waits for ever for one that is frozen while it starts."""
    until(lambda: serve.status().applications[APP].deployments[BATCHER].replica_states == RUNNING)
    return next(iter(actors("Batcher", APP).items()))


def ended(victim: str) -> bool:
    """It is gone and another is there."""
    now = actors("Batcher", APP)
    return victim not in now and len(now) == 2


def test_one_of_two_batchers_killed_under_load_costs_no_reward(client: Any) -> None:
    victim, batcher = a_batcher()
    with load(client):
        kill(batcher)
        until(lambda: ended(victim))


def test_a_frozen_batcher_is_replaced_and_costs_no_reward(client: Any) -> None:
    victim, batcher = a_batcher()
    process = pid(batcher)
    with load(client):
        os.kill(process, signal.SIGSTOP)
        try:
            until(lambda: ended(victim))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
