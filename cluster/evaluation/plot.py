"""Evaluation plots: accuracy by subset, scores with intervals, accuracy by style."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.evaluation.report import percent, short
from cluster.evaluation.run import Evaluation, ModelResult
from cluster.evaluation.style import Bin
from cluster.rlhf.runs import plotting

MAX_SUBSETS = 40
"""Bars of more subsets cannot be read."""


def draw(done: Evaluation, path: Path) -> None:
    """Write the picture to `path`."""
    from matplotlib.figure import Figure

    subsets = _subsets(done)
    height = max(5.0, 1.5 + 0.16 * len(subsets) * (len(done.models) + 1))
    figure = Figure(figsize=(12, height), layout="constrained")
    axes = figure.subplot_mosaic(
        [["subsets", "scores"], ["subsets", "length"], ["subsets", "format"]],
        width_ratios=[3, 2],
        height_ratios=[1 + 0.3 * len(done.models), 3, 3],
    )
    _bars(axes["subsets"], done, subsets)
    _scores(axes["scores"], done.models)
    _bins(axes["length"], [one.style.by_length for one in done.models])
    axes["length"].set_title("by length, right over wrong response", fontsize=9)
    _bins(axes["format"], [one.style.by_format for one in done.models])
    axes["format"].set_title("by Markdown, right beside wrong response", fontsize=9)
    part = "" if all(one.report.complete for one in done.models) else " (a part of it)"
    figure.suptitle(f"{done.title}{part}, {done.models[0].report.n} items", fontsize=11)
    plotting.save(figure, path)


def _subsets(done: Evaluation) -> list[str]:
    """In the order of the table, at most MAX_SUBSETS of them, the largest."""
    sizes = {line.subset: line.n for one in done.models for line in one.report.lines}
    kept = sorted(sizes, key=lambda name: -sizes[name])[:MAX_SUBSETS]
    return [name for name in sizes if name in kept]


def _bars(axes: Any, done: Evaluation, subsets: Sequence[str]) -> None:
    thickness = 0.8 / len(done.models)
    sizes: dict[str, int] = {}
    for rank, one in enumerate(done.models):
        lines = {line.subset: line for line in one.report.lines}
        for place, name in enumerate(subsets):
            line = lines.get(name)
            if line is None or line.score is None:
                continue
            sizes.setdefault(name, line.n)
            y = place + (rank - (len(done.models) - 1) / 2) * thickness
            axes.barh(y, 100 * line.score, color=f"C{rank}", height=thickness, alpha=0.8)
            axes.text(101, y, f"{100 * line.score:.1f}", va="center", fontsize=7)
    axes.axvline(50, color="grey", linestyle=":", linewidth=1)
    labels = [f"{name} ({sizes.get(name, 0)})" for name in subsets]
    axes.set_yticks(range(len(subsets)), labels, fontsize=8)
    axes.set(xlim=(0, 109), ylim=(len(subsets) - 0.4, -0.6), xlabel="score, %")


def _scores(axes: Any, models: Sequence[ModelResult]) -> None:
    """Each model's score with its interval; its name is the legend of all panels."""
    for rank, one in enumerate(models):
        score = one.report.score
        if score is None:
            continue
        axes.plot(100 * score, rank, "o", color=f"C{rank}")
        if one.interval is not None:
            ends = (100 * one.interval.low, 100 * one.interval.high)
            axes.plot(ends, (rank, rank), color=f"C{rank}", linewidth=2)
    labels = [f"{short(one.name)} {percent(one.report.score)}" for one in models]
    axes.set_yticks(range(len(models)), labels, fontsize=8)
    axes.set(ylim=(len(models) - 0.5, -0.5))
    axes.set_title(f"{models[0].report.score_name}, %, with its 95 % interval", fontsize=9)
    axes.grid(axis="x", alpha=0.3)


def _bins(axes: Any, models: Sequence[Sequence[Bin]]) -> None:
    for rank, bins in enumerate(models):
        places = [place for place, one in enumerate(bins) if one.accuracy is not None]
        values = [100 * (bins[place].accuracy or 0.0) for place in places]
        axes.plot(places, values, "o-", color=f"C{rank}", alpha=0.8)
    labels = [f"{one.label}\n({one.n:.0f})" for one in models[0]]
    axes.set_xticks(range(len(labels)), labels, fontsize=7)
    axes.axhline(50, color="grey", linestyle=":", linewidth=1)
    axes.set(ylim=(-8, 108), ylabel="accuracy, %")
