"""PPO run: generate, score, learn, repeat; resumes from checkpoints.

Invariant: everything in the output folder is written atomically; a killed run resumes from its last
checkpoint when its command is given again, and learns from the same rollouts as an uninterrupted
one. A response whose score is an error is left out of the update, counted and logged; it is never a
reward. The folder: start/, checkpoints/, log.jsonl, ppo.png, rejects.jsonl, made_from.json, and
policy/ at the end.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import ray

from cluster.config import EngineConfig
from cluster.data.jsonl import whole_folder
from cluster.data.output_lock import output_lock
from cluster.data.prompts import digest
from cluster.data.rejects import Rejects
from cluster.data.transforms import apply_by_group, check
from cluster.engine.checkpoint import revision
from cluster.errors import ConfigError, RewardError
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.policy.setup import starting_policy, training_prompts
from cluster.rlhf.ppo.collector import Collector, Experience
from cluster.rlhf.ppo.config import PpoConfig, PpoRun
from cluster.rlhf.ppo.learner import Learner
from cluster.rlhf.ppo.rollouts import weights_of
from cluster.rlhf.ppo.step_metrics import StepRow, draw, read_rows
from cluster.rlhf.runs.checkpoints import Checkpoints
from cluster.rlhf.runs.manifest import claim
from cluster.rlhf.runs.reward_model_id import identity, scored_by
from cluster.rlhf.runs.step_log import StepLog
from cluster.rlhf.runs.trackers import Trackers, check_installed
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
"""Settings that may change when a run is resumed; all others determine its result."""


def run_ppo(
    config: PpoRun,
    client: Any,
    on_step: OnStep,
    rejects: Rejects,
    say: Callable[[str], object] = print,
) -> Policy:
    """Run every remaining step, with rewards from `client`, a RewardClient's handle.

    Raises ConfigError for what cannot be run, the RewardError of a step in which too many responses
    failed, and NotReady if no reward arrives for `ppo.patience_s`.
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
    check_installed(config.report_to)
    check(config.ppo.transforms)
    start = starting_policy(config.policy, folder, config.ppo.seed)
    policy = Policy.load(start, config.device)
    with rejects:
        longest = config.ppo.sampling.max_new_tokens
        prompts = training_prompts(config.prompts, policy, longest, config.ppo.seed, rejects)
    if len(prompts) < config.ppo.prompts:
        raise ConfigError(f"{len(prompts)} prompts are fewer than a step's {config.ppo.prompts}")
    made_by = scored_by(
        lambda chats: ray.get(client.score.remote(list(chats), 0, config.ppo.patience_s))
    )
    claim(folder, _made_from(config, start, prompts, made_by))
    checkpoints = Checkpoints(folder / "checkpoints", config.ppo.keep_checkpoints)
    learner = Learner(policy, config.ppo)
    one = _Run(folder, config.ppo, learner, prompts, made_by, checkpoints, say)
    done = one.resume()
    with Trackers(config.report_to, folder, asdict(config), done) as trackers:
        collector = Collector(config.ppo, start, client, say)
        one.go(done, collector, StepLog(folder / "log.jsonl", trackers), on_step)
    return policy


@dataclass(frozen=True, slots=True)
class _Run:
    """made_by: the model, revision and numerics that every reward must name."""

    folder: Path
    config: PpoConfig
    learner: Learner
    prompts: list[Chat]
    made_by: dict[str, str]
    checkpoints: Checkpoints
    say: Callable[[str], object]

    def resume(self) -> int:
        """Load the newest checkpoint; its step, 0 if there is none."""
        done = self.checkpoints.newest()
        if done:
            self.learner.load(self.checkpoints.path(done))
        return done

    def go(self, done: int, collector: Collector, log: StepLog, on_step: OnStep) -> None:
        log.begin(done)
        for step in range(done + 1, self.config.steps + 1):
            row = self._step(collector, step)
            log.add(asdict(row))
            on_step(row)
            if self.config.checkpoint_every and step % self.config.checkpoint_every == 0:
                self.checkpoints.write(step, self.learner.save)
        draw({"": read_rows(log.path)}, self.folder / "ppo.png")
        shutil.rmtree(self.folder / "policy", ignore_errors=True)
        with whole_folder(self.folder / "policy") as temp:
            self.learner.policy.save(temp)

    def _step(self, collector: Collector, step: int) -> StepRow:
        config, seed = self.config, f"{self.config.seed} {step}"
        chosen = Random(seed).sample(self.prompts, config.prompts)
        began = time.perf_counter()
        seen = collector.collect(weights_of(self.learner.policy, config.bf16), chosen, step)
        scored = self._scored(seen)
        learning = time.perf_counter()
        groups = [index // config.sampling.n for index, _ in scored]
        rewards = [score.reward for _, score in scored]
        transformed = apply_by_group(rewards, groups, config.transforms).tolist()
        shuffle = Random(f"{seed} update").getrandbits(63)
        rollouts = [seen.rollouts[index] for index, _ in scored]
        update = self.learner.update(rollouts, transformed, groups, shuffle)
        now = time.perf_counter()
        measured = asdict(update) | {"learning_s": now - learning, "step_s": now - began}
        return _row(step, seen, rewards, transformed, measured)

    def _scored(self, seen: Experience) -> list[tuple[int, Score]]:
        """The scores and their rollouts' indices. Raises ConfigError where one is of another model,
        and the error that too many of the responses ended in."""
        scored = [(i, one) for i, one in enumerate(seen.results) if isinstance(one, Score)]
        failed = [one for one in seen.results if isinstance(one, RewardError)]
        for code, error in {error.code: error for error in reversed(failed)}.items():
            self.say(f"a response has no reward: {error} [{code}]")
        if not scored or len(failed) > self.config.max_failed_share * len(seen.results):
            raise failed[0]
        for _, score in scored:
            if identity(score) != self.made_by:
                raise ConfigError(
                    f"the service now serves {identity(score)} but this run began with "
                    f"{self.made_by}; serve that model again or use a new output"
                )
        return scored


def _row(
    step: int,
    seen: Experience,
    rewards: list[float],
    transformed: list[float],
    measured: dict[str, float],
) -> StepRow:
    mean = sum(rewards) / len(rewards)
    codes = Counter(one.code for one in seen.results if isinstance(one, RewardError))
    return StepRow(
        step=step,
        reward=mean,
        reward_std=(sum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5,
        transformed_reward=sum(transformed) / len(transformed),
        responses=len(seen.rollouts),
        failed=codes.total(),
        failures=dict(codes),
        unfinished=sum(not rollout.finished for rollout in seen.rollouts),
        tokens=sum(len(rollout.response_ids) for rollout in seen.rollouts),
        generating_s=seen.generating_s,
        waiting_s=seen.waiting_s,
        **measured,
    )


def _made_from(config: PpoRun, start: str, prompts: list[Chat], made_by: Any) -> dict[str, Any]:
    settings = {key: value for key, value in asdict(config.ppo).items() if key not in FREE}
    return {
        **settings,
        "policy": [config.policy, revision(EngineConfig(model=start), None)],
        "prompts_digest": digest(prompts),
        "reward": made_by,
    }
