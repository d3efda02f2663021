"""A loop from its configuration: the start, the prompts, the stages, the control, the curve.

Invariant: everything in the folder is written atomically, and a killed run resumes when its command
is given again. The folder: start/ (where the policy is generated), the loop's own and control/ with
a folder per stage, log.jsonl, curve.json, a picture and rejects.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from cluster.config import EngineConfig
from cluster.data.formats import Scorer
from cluster.data.jsonl import write_json
from cluster.data.output_lock import output_lock
from cluster.data.rejects import Rejects
from cluster.data.transforms import check
from cluster.engine.checkpoint import revision
from cluster.rlhf.iteration.config import LoopConfig, LoopRun
from cluster.rlhf.iteration.loop import Learn, Loop
from cluster.rlhf.iteration.plot import draw
from cluster.rlhf.iteration.stages import Stage
from cluster.rlhf.policy import generated
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.policy.setup import GENERATED, starting_policy, training_prompts
from cluster.rlhf.runs.reward_model_id import scored_by
from cluster.rlhf.runs.step_log import StepLog
from cluster.rlhf.runs.trackers import Trackers, check_installed
from cluster.types import Chat

OnStage = Callable[[str, Stage], object]
CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind of loop. name: of its folder, its picture and its curve."""

    name: str
    loop: LoopConfig
    learn: Callable[[Any], Learn]


def run_loop(
    config: LoopRun, recipe: Recipe, score: Scorer, on_stage: OnStage, rejects: Rejects
) -> Policy:
    """Run every stage that is missing and draw the curve; returns the last policy of the main
    run."""
    check_installed(config.report_to)
    check(recipe.loop.transforms)
    folder = Path(config.out)
    with output_lock(folder):
        return _run(config, recipe, folder, score, on_stage, rejects)


def _run(
    config: LoopRun,
    recipe: Recipe,
    folder: Path,
    score: Scorer,
    on_stage: OnStage,
    rejects: Rejects,
) -> Policy:
    start = starting_policy(config.policy, folder, recipe.loop.seed)
    with rejects:
        policy = Policy.load(start, config.device)
        training, evaluation = _prompts(config, recipe.loop, policy, rejects)
    made_from = {
        "policy": [config.policy, revision(EngineConfig(model=start), None)],
        "reward": scored_by(score),
    }
    loops = {
        name: Loop(
            loop,
            recipe.learn(loop),
            folder / name,
            start,
            training,
            evaluation,
            score,
            made_from,
            config.device,
        )
        for name, loop in _loops(config, recipe)
    }
    curves = _curves(config, recipe, folder, loops, on_stage)
    points = {name: list(map(asdict, curve)) for name, curve in curves.items()}
    write_json(folder / "curve.json", points)
    draw({name: [curve] for name, curve in curves.items()}, folder / f"{recipe.name}.png")
    return loops[recipe.name].policy_after(recipe.loop.stages)


def read_curve(path: Path) -> dict[str, list[Stage]]:
    """A run's curve.json."""
    found = json.loads(path.read_text())
    return {name: [Stage(**stage) for stage in stages] for name, stages in found.items()}


def draw_seeds(folders: list[Path], path: Path) -> None:
    """The curves of runs that differ in their seed, in one picture."""
    runs = [read_curve(folder / "curve.json") for folder in folders]
    draw({name: [run[name] for run in runs] for name in runs[0]}, path)


def _curves(
    config: LoopRun, recipe: Recipe, folder: Path, loops: dict[str, Loop], on_stage: OnStage
) -> dict[str, list[Stage]]:
    """Every stage of every loop; those of the main run are logged."""
    curves: dict[str, list[Stage]] = {}
    with Trackers(config.report_to, folder, asdict(config) | asdict(recipe.loop)) as trackers:
        log = StepLog(folder / "log.jsonl", trackers)
        log.begin(-1)  # stages that are finished already are reported again

        def told(name: str) -> Callable[[Stage], None]:
            def tell(stage: Stage) -> None:
                if name == recipe.name:
                    log.add({"step": stage.stage, **asdict(stage)})
                on_stage(name, stage)

            return tell

        for name, loop in loops.items():
            curves[name] = loop.run(told(name))
    return curves


def _loops(config: LoopRun, recipe: Recipe) -> list[tuple[str, LoopConfig]]:
    control = [(CONTROL, replace(recipe.loop, random=True))] if config.control else []
    return [(recipe.name, recipe.loop), *control]


def _prompts(
    config: LoopRun, loop: LoopConfig, policy: Policy, rejects: Rejects
) -> tuple[list[Chat], list[Chat]]:
    """Prompts to train on and to evaluate on, without overlap."""
    seed, n = loop.seed, config.evaluation_prompts

    def read(source: str) -> list[Chat]:
        return training_prompts(source, policy, loop.sampling.max_new_tokens, seed, rejects)

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
