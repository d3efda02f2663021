"""The curves of a loop, of one seed or several, beside its random control if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.rlhf.iteration.stages import Stage
from cluster.rlhf.runs import plotting

Curves = Mapping[str, Sequence[Sequence[Stage]]]
"""Runs by name, one per seed: `raft` or `dpo` first, then `control`."""
_TITLES = {"raft": "RAFT", "dpo": "iterative DPO", "control": "random control"}
_DRAWN = (
    ("kept", "learnt from"),
    ("rejected", "rejected"),
    ("mean", "all"),
    ("first", "first of each prompt"),
)


def draw(curves: Curves, path: Path) -> None:
    """Left: evaluation rewards after each stage. Right: mean rewards of what a stage sampled and
    trained on."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    main, *_ = curves
    for name, runs in curves.items():
        _lines(left, runs, "evaluation", _TITLES[name])
    n = curves[main][0][0].n_evaluated
    left.set(title=f"on {n} prompts never trained on", xlabel="stage", ylabel="mean raw reward")
    for field, label in _DRAWN:
        _lines(right, [run[1:] for run in curves[main]], field, label)
    right.set(title=f"{_TITLES[main]}: responses drawn in each stage", xlabel="stage")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    plotting.save(figure, path)


def _lines(axes: Any, runs: Sequence[Sequence[Stage]], field: str, label: str) -> None:
    """The mean of the runs as dots, each run as a thin line where there are several."""
    made = [[(s.stage, getattr(s, field)) for s in run] for run in runs]
    if any(value is None for run in made for _, value in run):
        return
    stages = [stage for stage, _ in made[0]]
    columns = zip(*([value for _, value in run] for run in made), strict=True)
    [line] = axes.plot(stages, [sum(c) / len(c) for c in columns], marker="o", label=label)
    for run in made if len(made) > 1 else ():
        axes.plot(stages, [value for _, value in run], lw=0.8, alpha=0.5, color=line.get_color())
