"""A PPO run from its configuration: generate, score, learn, again; through checkpoints.

Invariant: everything in the output folder is whole; a run that was killed goes on from its last
checkpoint when it is given again, and learns from the same rollouts as one that never was. A
response whose score is an error is left out of the update, counted and logged; it is never a
reward. The folder: start/, checkpoints/, log.jsonl, ppo.png, rejects.jsonl, made_from.json, and
policy/ at the end.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import ray

from cluster.config import EngineConfig
from cluster.engine.checkpoint import revision
from cluster.errors import ConfigError, RewardError
from cluster.files import whole_folder
from cluster.lock import output_lock
from cluster.rlhf.made_from import claim
from cluster.rlhf.policy import Policy
from cluster.rlhf.ppo.config import PpoConfig, PpoRun
from cluster.rlhf.ppo.experience import Collector, Experience
from cluster.rlhf.ppo.learner import Learner
from cluster.rlhf.ppo.log import StepLog, StepRow
from cluster.rlhf.ppo.rollouts import weights_of
from cluster.rlhf.prompts import digest
from cluster.rlhf.rejects import Rejects
from cluster.rlhf.scored_by import scored_by
from cluster.rlhf.starting import starting_policy, training_prompts
from cluster.types import Chat, Score

OnStep = Callable[[StepRow], object]
FREE = (
    "steps",
    "futures",
    "workers",
    "worker_cpus",
    "worker_gpus",
    "patience_s",
    "max_failed_share",
)
"""Settings that may change while a run goes on; all others decide what it makes."""


def run(
    config: PpoRun,
    client: Any,
    on_step: OnStep,
    rejects: Rejects,
    say: Callable[[str], object] = print,
) -> Policy:
    """Every step that is left, with rewards of `client`, a RewardClient's handle.

    Raises ConfigError for what cannot be run, the RewardError in which too many of a step's
    responses ended, and NotReady where no reward comes for `ppo.patience_s`.
    """
    folder = Path(config.out)
    with output_lock(folder):
        return _run(config, folder, client, on_step, rejects, say)


def _run(
    config: PpoRun,
    folder: Path,
    client: Any,
    on_step: OnStep,
    rejects: Rejects,
    say: Callable[[str], object],
) -> Policy:
    start = starting_policy(config.policy, folder, config.ppo.seed)
    policy = Policy.load(start, config.device)
    with rejects:
        longest = config.ppo.sampling.max_new_tokens
        prompts = training_prompts(config.prompts, policy, longest, config.ppo.seed, rejects)
    if len(prompts) < config.ppo.prompts:
        raise ConfigError(f"{len(prompts)} prompts are fewer than a step's {config.ppo.prompts}")
    claim(folder, _made_from(config, start, client, prompts))
    one = _Run(folder, config.ppo, Learner(policy, config.ppo), prompts)
    one.go(Collector(config.ppo, start, client, say), on_step)
    return policy


@dataclass(frozen=True, slots=True)
class _Run:
    folder: Path
    config: PpoConfig
    learner: Learner
    prompts: list[Chat]

    def go(self, collector: Collector, on_step: OnStep) -> None:
        log = StepLog(self.folder / "log.jsonl")
        done = self._resume()
        log.begin(done)
        for step in range(done + 1, self.config.steps + 1):
            row = self._step(collector, step)
            log.add(row)
            on_step(row)
            if self.config.checkpoint_every and step % self.config.checkpoint_every == 0:
                self._write(step)
        log.draw(self.folder / "ppo.png")
        shutil.rmtree(self.folder / "policy", ignore_errors=True)
        with whole_folder(self.folder / "policy") as temp:
            self.learner.policy.save(temp)

    def _step(self, collector: Collector, step: int) -> StepRow:
        seed = f"{self.config.seed} {step}"
        chosen = Random(seed).sample(self.prompts, self.config.prompts)
        began = time.perf_counter()
        seen = collector.collect(weights_of(self.learner.policy), chosen, step)
        scored = [
            (rollout, result)
            for rollout, result in zip(seen.rollouts, seen.results, strict=True)
            if isinstance(result, Score)
        ]
        failed = [result for result in seen.results if isinstance(result, RewardError)]
        if not scored or len(failed) > self.config.max_failed_share * len(seen.results):
            raise failed[0]
        learning = time.perf_counter()
        rewards = [score.reward for _, score in scored]
        shuffle = Random(f"{seed} update").getrandbits(63)
        update = self.learner.update([rollout for rollout, _ in scored], rewards, shuffle)
        now = time.perf_counter()
        return _row(step, seen, rewards, asdict(update), now - learning, now - began)

    def _path(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"step-{step:06}"

    def _checkpoints(self) -> list[int]:
        found = (self.folder / "checkpoints").glob("step-*")
        return sorted(int(path.name.removeprefix("step-")) for path in found)

    def _resume(self) -> int:
        """The step of the newest checkpoint, loaded; 0 where there is none."""
        steps = self._checkpoints()
        if steps:
            self.learner.load(self._path(steps[-1]))
        return steps[-1] if steps else 0

    def _write(self, step: int) -> None:
        with whole_folder(self._path(step)) as temp:
            self.learner.save(temp)
        for old in self._checkpoints()[: -self.config.keep_checkpoints]:
            shutil.rmtree(self._path(old))


def _row(
    step: int,
    seen: Experience,
    rewards: list[float],
    update: dict[str, float],
    learning_s: float,
    step_s: float,
) -> StepRow:
    mean = sum(rewards) / len(rewards)
    return StepRow(
        step=step,
        reward=mean,
        reward_std=(sum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5,
        responses=len(seen.rollouts),
        failed=len(seen.rollouts) - len(rewards),
        unfinished=sum(not rollout.finished for rollout in seen.rollouts),
        tokens=sum(len(rollout.response_ids) for rollout in seen.rollouts),
        generating_s=seen.generating_s,
        waiting_s=seen.waiting_s,
        learning_s=learning_s,
        step_s=step_s,
        **update,
    )


def _made_from(config: PpoRun, start: str, client: Any, prompts: list[Chat]) -> dict[str, Any]:
    settings = {key: value for key, value in asdict(config.ppo).items() if key not in FREE}
    return {
        **settings,
        "policy": [config.policy, revision(EngineConfig(model=start), None)],
        "prompts_digest": digest(prompts),
        "reward": scored_by(
            lambda chats: ray.get(client.score.remote(list(chats), 0, config.ppo.patience_s))
        ),
    }
