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

    n_broken: broken rows of prompts; broken: the first of them, one line each.
    """

    folder: Path
    policy: Path
    n_broken: int
    broken: tuple[str, ...]


class LoopOptions(TypedDict, total=False):
    """Options of `train_raft` and `train_dpo` besides their configuration."""

    app: str | None
    """A running Serve application to score by, instead of an engine of `config.reward` in this
    process."""
    seeds: Sequence[int]
    """Seeds instead of the loop's `seed`; with several, each is a run in a folder `seed-N` of its
    own and the plot shows all."""
    strict: bool
    """Raise InvalidInput at the first broken row of prompts."""
    on_stage: OnStage
    """Called with the loop's name (`control` for the control) and each stage."""
    on_run: Callable[[LoopReport], object]
    """Called with each finished run."""


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
    """Every run of `config`, resumed if it was begun; see `LoopOptions`."""
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
    """One config per seed; with several, each in a folder of its own."""
    for seed in seeds or (recipe.loop.seed,):
        loop: dict[str, Any] = {recipe.name: replace(recipe.loop, seed=seed)}
        out = f"{config.out}/seed-{seed}" if len(seeds) > 1 else config.out
        yield replace(config, out=out, **loop)
