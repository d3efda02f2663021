"""RAFT run from its configuration: policy, prompts, loop, control, curve.

Invariant: everything in the folder appears whole, and a run that was killed resumes when it is
given again. The folder: start/ (where the policy is generated), raft/ and control/ with a folder a
stage, curve.json, raft.png and rejects.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from cluster.config import EngineConfig
from cluster.data.formats import Scorer
from cluster.data.jsonl import atomic_writer
from cluster.data.rejects import Rejects
from cluster.engine.checkpoint import revision
from cluster.rlhf.policy import generated
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.policy.setup import GENERATED, starting_policy, training_prompts
from cluster.rlhf.raft import plot as raft_figure
from cluster.rlhf.raft.loop import Raft, RaftConfig
from cluster.rlhf.raft.stages import RaftStage
from cluster.rlhf.runs.field_types import Count
from cluster.rlhf.runs.output_lock import output_lock
from cluster.rlhf.runs.reward_model_id import scored_by
from cluster.types import Chat

OnStage = Callable[[str, RaftStage], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftRun:
    """A whole run."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    out: str = "out/raft"
    policy: str = GENERATED
    """Where to start: a causal language model with a chat template (a folder or a hub id), or
    `generated`: a tiny one, made first by fine-tuning on generated preferences, good and bad."""
    prompts: str = GENERATED
    """File of rows with `prompt`, or `generated`."""
    evaluation: str | None = None
    """File of prompts that are never trained on; None sets some of `prompts` apart."""
    evaluation_prompts: Count = 192
    control: bool = True
    """Run the random control too, from the same start."""
    device: str = "cpu"
    """Of the policy."""
    reward: EngineConfig = field(default_factory=EngineConfig)
    """The reward model; not used where a service scores."""
    raft: RaftConfig = field(default_factory=RaftConfig)


def train_raft(config: RaftRun, score: Scorer, on_stage: OnStage, rejects: Rejects) -> Policy:
    """Make every stage that is not there yet, and the curve; the last policy of the run proper."""
    folder = Path(config.out)
    with output_lock(folder):
        return _run(config, folder, score, on_stage, rejects)


def _run(
    config: RaftRun, folder: Path, score: Scorer, on_stage: OnStage, rejects: Rejects
) -> Policy:
    start = starting_policy(config.policy, folder, config.raft.seed)
    with rejects:
        training, evaluation = _prompts(config, Policy.load(start, config.device), rejects)
    made_from = {
        "policy": [config.policy, revision(EngineConfig(model=start), None)],
        "reward": scored_by(score),
    }
    curves: dict[str, list[RaftStage]] = {}
    rafts = {
        name: Raft(
            loop, folder / name, start, training, evaluation, score, made_from, config.device
        )
        for name, loop in _loops(config).items()
    }
    for name, raft in rafts.items():
        curves[name] = raft.run(partial(on_stage, name))
    with atomic_writer(folder / "curve.json") as out:
        json.dump({name: list(map(asdict, curve)) for name, curve in curves.items()}, out, indent=1)
    raft_figure.draw(curves["raft"], curves.get("control", []), folder / "raft.png")
    return rafts["raft"].policy_after(config.raft.stages)


def _loops(config: RaftRun) -> dict[str, RaftConfig]:
    control = {"control": replace(config.raft, random=True)} if config.control else {}
    return {"raft": config.raft, **control}


def _prompts(config: RaftRun, policy: Policy, rejects: Rejects) -> tuple[list[Chat], list[Chat]]:
    """To train on and to evaluate on, no prompt among both."""
    seed, n = config.raft.seed, config.evaluation_prompts

    def read(source: str) -> list[Chat]:
        return training_prompts(source, policy, config.raft.sampling.max_new_tokens, seed, rejects)

    training = read(config.prompts)
    if config.evaluation is not None:
        evaluation = read(config.evaluation)[:n]
    elif config.prompts == GENERATED:
        evaluation = generated.prompts("held_out", n, seed)
    else:
        evaluation = Random(f"{seed} evaluation").sample(training, min(n, len(training)))
    apart = set(map(_key, evaluation))
    return [prompt for prompt in training if _key(prompt) not in apart], evaluation


def _key(prompt: Chat) -> str:
    return json.dumps(list(prompt))
