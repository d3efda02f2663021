"""A step's rollouts and their rewards, as futures that depend on one another.

Each chunk of prompts is one call to a rollout worker; the reference to its conversations goes
straight into `client.score.remote(...)`, so a chunk is scored while the next one is generated, and
nothing passes through the learner on the way. The learner owns every future: whatever dies, Ray
runs the call again.

Invariant: every response that was asked for comes out once, in order, with its reward or with the
error that it ended in; an error is never a reward.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import ray

from cluster.errors import RewardError
from cluster.rlhf.ppo.config import PpoConfig
from cluster.rlhf.ppo.rollouts import Rollout, RolloutWorker, Weights
from cluster.types import Chat, Score


@dataclass(frozen=True, slots=True)
class Experience:
    """What a step learns from. results: one a rollout.

    generating_s: until the last response was there. waiting_s: from then until the last reward.
    """

    rollouts: list[Rollout]
    results: list[Score | RewardError]
    generating_s: float
    waiting_s: float


class Collector:
    """The rollout workers, and the client that has their responses scored."""

    def __init__(self, config: PpoConfig, start: str, client: Any) -> None:
        self._config = config
        self._client = client
        actor: Any = ray.remote(RolloutWorker).options(
            num_cpus=config.worker_cpus,
            num_gpus=config.worker_gpus,
            max_restarts=-1,
            max_task_retries=-1,
        )
        device = "cuda" if config.worker_gpus else "cpu"
        self._workers = [actor.remote(start, device) for _ in range(config.workers)]

    def collect(self, weights: Weights, prompts: Sequence[Chat], step: int) -> Experience:
        """Raises the RewardError of a whole call that failed."""
        began = time.perf_counter()
        shared = ray.put(weights)
        chunks = [
            prompts[i : i + self._config.chunk] for i in range(0, len(prompts), self._config.chunk)
        ]
        calls = [self._call(shared, chunk, step, i) for i, chunk in enumerate(chunks)]
        scores = [self._score(chats) for _, chats in calls] if self._config.futures else []
        found: list[list[Rollout]] = ray.get([rollouts for rollouts, _ in calls])
        generated = time.perf_counter()
        scores = scores or [self._score(chats) for _, chats in calls]
        results: list[list[Score | RewardError]] = ray.get(scores)
        return Experience(
            [rollout for chunk in found for rollout in chunk],
            [result for chunk in results for result in chunk],
            generated - began,
            time.perf_counter() - generated,
        )

    def _call(self, weights: Any, prompts: Sequence[Chat], step: int, chunk: int) -> Any:
        worker = self._workers[chunk % len(self._workers)]
        seed = Random(f"{self._config.seed} {step} {chunk}").getrandbits(63)
        call = worker.rollouts.options(num_returns=2)
        return call.remote(weights, list(prompts), self._config.sampling, seed)

    def _score(self, conversations: Any) -> Any:
        return self._client.score.remote(conversations)
