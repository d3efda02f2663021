"""A Report for people and programs: tables, and a row for each example."""

from __future__ import annotations

from typing import Any, cast

from rich.table import Table

from cluster.evaluation.rewardbench import v1, v2
from cluster.evaluation.rewardbench.constants import TIES
from cluster.evaluation.rewardbench.types import BenchmarkReport, Line, ScoredExample


def subset_table(report: BenchmarkReport) -> Table:
    """A line a subset: how many examples were judged, the score in percent, the tied examples."""
    table = Table("subset", title=f"RewardBench {report.version}")
    if report.version == 1:
        table.add_column("section")
    for name in ("examples", "score", "tied"):
        table.add_column(name, justify="right")
    for line in report.lines:
        where = [line.section or "(not counted)"] if report.version == 1 else []
        cells = [line.subset, *where, _count(line), percent(line.score), str(line.ties)]
        table.add_row(*cells, end_section=_ends_section(report, line))
    return table


def section_table(report: BenchmarkReport) -> Table:
    """The row of the model card: a column a section, then the score."""
    table = Table(*report.sections, "score")
    table.add_row(*map(percent, report.sections.values()), percent(report.score))
    return table


def notes(report: BenchmarkReport) -> list[str]:
    """What the tables leave out, a sentence a line."""
    lines = []
    if not report.complete:
        lines.append("the score is of the examples that were judged, not of the whole benchmark")
    swapped = report.details.get("swapped_xstest_weights", {})
    if swapped.get("Safety") is not None:
        lines.append(
            f"with the xstest weights swapped, as published until September 2024: "
            f"Safety {percent(swapped['Safety'])}, score {percent(swapped['score'])}"
        )
    ties = report.details.get("ties")
    if ties:
        parts = (f"{name} {percent(value)}" for name, value in ties.items() if name != "tie_break")
        lines.append(f"{TIES}: {', '.join(parts)}, tie_break {ties['tie_break']:.4f}")
    return lines


def percent(score: float | None) -> str:
    """Two decimals, as published; a dash where there is nothing."""
    return "-" if score is None else f"{100 * score:.2f}"


def example_row(judged: ScoredExample, report: BenchmarkReport) -> dict[str, Any]:
    """One judged example: its raw rewards and its credit, None in Ties, which has none apiece."""
    if report.version == 1:
        credit: float | None = v1.credit(judged, cast(v1.TieRule, report.tie_rule))
    else:
        credit = None if judged.subset == TIES else v2.credit((*judged.right, *judged.wrong))
    return {
        "source": judged.source,
        "line": judged.number,
        "id": judged.id,
        "subset": judged.subset,
        "chosen_rewards": list(judged.right),
        "rejected_rewards": list(judged.wrong),
        "credit": credit,
        "truncated": judged.truncated,
    }


def _count(line: Line) -> str:
    return str(line.n) if line.expected in (None, line.n) else f"{line.n} of {line.expected}"


def _ends_section(report: BenchmarkReport, line: Line) -> bool:
    place = report.lines.index(line)
    following = report.lines[place + 1 : place + 2]
    return report.version == 1 and any(after.section != line.section for after in following)
