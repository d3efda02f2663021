"""A Report as a picture: a bar a subset, coloured by section, and each section's score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.evaluation.rewardbench.report import percent
from cluster.evaluation.rewardbench.types import BenchmarkReport, Line
from cluster.rlhf.runs import plotting


def draw(report: BenchmarkReport, model: str, path: Path) -> None:
    """Write the picture to `path`."""
    from matplotlib.figure import Figure

    lines = [line for line in report.lines if line.score is not None]
    figure = Figure(figsize=(8, 1.5 + 0.28 * len(lines)), layout="constrained")
    axes = figure.subplots()
    _bars(axes, lines)
    if report.version == 1:
        _section_scores(axes, report, lines)
        axes.axvline(50, color="grey", linestyle=":", linewidth=1)  # by chance
    axes.set_yticks(range(len(lines)), [f"{line.subset} ({line.n})" for line in lines], fontsize=8)
    axes.set(xlim=(0, 108), ylim=(len(lines) - 0.4, -0.6), xlabel="score in percent")
    part = "" if report.complete else " (a part of the benchmark)"
    axes.set_title(
        f"RewardBench {report.version}{part}, {model}: {percent(report.score)}", fontsize=10
    )
    plotting.save(figure, path)


def _bars(axes: Any, lines: Sequence[Line]) -> None:
    sections = list(dict.fromkeys(line.section for line in lines))
    for place, line in enumerate(lines):
        colour = "lightgrey" if line.section is None else f"C{sections.index(line.section)}"
        score = 100 * (line.score or 0.0)
        axes.barh(place, score, color=colour, height=0.8, alpha=0.8)
        axes.text(101, place, f"{score:.1f}", va="center", fontsize=8)


def _section_scores(axes: Any, report: BenchmarkReport, lines: Sequence[Line]) -> None:
    """A line at the section's score along its bars, named inside the first of them."""
    for section, score in report.sections.items():
        places = [place for place, line in enumerate(lines) if line.section == section]
        if score is None or not places:
            continue
        ends = (places[0] - 0.5, places[-1] + 0.5)
        axes.plot((100 * score,) * 2, ends, color="black", linewidth=1.5)
        axes.text(1, places[0], f"{section} {percent(score)}", va="center", fontsize=8)
