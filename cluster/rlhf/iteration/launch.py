"""A loop with its scorer: an engine in this process or a running service; one run per seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from cluster.data.formats import Scorer
from cluster.data.rejects import Rejects
from cluster.rlhf.iteration.config import LoopRun
from cluster.rlhf.iteration.run import OnStage, Recipe, draw_seeds, run_loop
from cluster.rlhf.reward_service import scorer

C = TypeVar("C", bound=LoopRun)


@dataclass(frozen=True, slots=True)
class LoopReport:
    """One finished run. folder: its stages, curve.json and picture; policy: the last stage's.

    n_broken: rows of prompts that are none; broken: the first of them, a line each.
    """

    folder: Path
    policy: Path
    n_broken: int
    broken: tuple[str, ...]


class LoopOptions(TypedDict, total=False):
    """How `train_raft` and `train_dpo` run, beside their configuration."""

    app: str | None
    """A running Serve application to score by, in place of an engine of `config.reward` in this
    process."""
    seeds: Sequence[int]
    """In place of the loop's `seed`; of several, each is a run in a folder `seed-N` of its own and
    the picture shows all."""
    strict: bool
    """The first broken row of prompts raises InvalidInput."""
    on_stage: OnStage
    """Gets the loop's name (`control` of the control) and each stage."""
    on_run: Callable[[LoopReport], object]
    """Gets each finished run."""


def launch(
    config: C,
    recipe: Callable[[C], Recipe],
    *,
    app: str | None = None,
    seeds: Sequence[int] = (),
    strict: bool = False,
    on_stage: OnStage = lambda loop, stage: None,
    on_run: Callable[[LoopReport], object] = lambda report: None,
) -> list[LoopReport]:
    """Every run of `config`, resumed where it was begun; see `LoopOptions`."""
    runs = list(_by_seed(config, recipe(config), seeds))
    score = scorer(config.reward, app)
    reports = []
    for one in runs:
        reports.append(_run(one, recipe(one), score, strict, on_stage))
        on_run(reports[-1])
    if len(runs) > 1:
        picture = Path(config.out) / f"{recipe(config).name}.png"
        draw_seeds([report.folder for report in reports], picture)
    return reports


def _run(
    config: LoopRun, recipe: Recipe, score: Scorer, strict: bool, on_stage: OnStage
) -> LoopReport:
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    broken = Rejects(folder / "rejects.jsonl", strict)
    run_loop(config, recipe, score, on_stage, broken)
    policy = folder / recipe.name / f"stage-{recipe.loop.stages:03}"
    return LoopReport(folder, policy, broken.n, tuple(broken.lines()))


def _by_seed(config: C, recipe: Recipe, seeds: Sequence[int]) -> Iterator[C]:
    """A config per seed; of several, each in a folder of its own."""
    for seed in seeds or (recipe.loop.seed,):
        loop: dict[str, Any] = {recipe.name: replace(recipe.loop, seed=seed)}
        out = f"{config.out}/seed-{seed}" if len(seeds) > 1 else config.out
        yield replace(config, out=out, **loop)
