"""Rollout collection: responses and their rewards as futures that depend on one another.

Each chunk of prompts is one call to a rollout worker; the reference to its conversations goes
straight into `client.score.remote(...)`, so a chunk is scored while the next one is generated, and
nothing passes through the learner on the way. The learner owns every future: if a process dies, Ray
runs the call again.

Invariant: every requested response is returned once, in order, with its reward or its error; an
error is never a reward.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import ray

from cluster.errors import NotReady, RewardError
from cluster.rlhf.ppo.config import PpoConfig
from cluster.rlhf.ppo.rollouts import Rollout, RolloutWorker, Weights
from cluster.types import Chat, Score

SAY_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Experience:
    """What a step learns from. results: one per rollout.

    generating_s: until the last response was generated. waiting_s: from then until the last reward.
    """

    rollouts: list[Rollout]
    results: list[Score | RewardError]
    generating_s: float
    waiting_s: float


class Collector:
    """The rollout workers, and the client that has their responses scored."""

    def __init__(
        self, config: PpoConfig, start: str, client: Any, say: Callable[[str], object]
    ) -> None:
        self._config = config
        self._client = client
        self._say = say
        actor: Any = ray.remote(RolloutWorker).options(
            num_cpus=config.worker_cpus,
            num_gpus=config.worker_gpus,
            max_restarts=-1,
            max_task_retries=-1,
        )
        device = "cuda" if config.worker_gpus else "cpu"
        self._workers = [
            actor.remote(start, device, bf16=config.bf16) for _ in range(config.workers)
        ]

    def collect(self, weights: Weights, prompts: Sequence[Chat], step: int) -> Experience:
        """Raises the RewardError of a call that failed as a whole, and NotReady if the service
        leaves responses unanswered for the configured patience."""
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
        results = self._awaited(scores)
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
        return call.remote(weights, weights.hex(), list(prompts), self._config.sampling, seed)

    def _score(self, conversations: Any) -> Any:
        return self._client.score.remote(conversations)

    def _awaited(self, scores: Sequence[Any]) -> list[list[Score | RewardError]]:
        """The results; while waiting for them, says so every `SAY_EVERY_S` seconds."""
        patience_s, began = self._config.patience_s, time.monotonic()
        missing = list(scores)
        while missing:
            left = patience_s - (time.monotonic() - began)
            if left <= 0:
                for score in missing:
                    ray.cancel(score)
                raise NotReady(
                    f"the reward service left {len(missing)} of {len(scores)} calls unanswered for "
                    f"{patience_s:.0f} s; checkpoints are kept: give the command again once it is "
                    "back, or raise `patience_s`"
                )
            known = len(missing)
            limit = min(SAY_EVERY_S, left)
            missing = ray.wait(missing, num_returns=known, timeout=limit)[1]
            if missing and left > limit:
                waited = time.monotonic() - began
                self._say(f"waiting for rewards: {len(missing)} calls for {waited:.0f} s")
        found: list[list[Score | RewardError]] = ray.get(list(scores))
        return found
