"""Evaluation reports: tables, and the JSON of report.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from cluster.evaluation.bootstrap import LEVEL, Interval
from cluster.evaluation.run import Evaluation, ModelResult
from cluster.evaluation.style import Bin
from cluster.evaluation.types import Line

SHOWN = 20
"""How many rows that could not be judged are listed."""
LONGEST_NAME = 24
"""Characters of a model's name in a table or a picture."""


def tables(done: Evaluation) -> Iterator[Table]:
    """Scores, subsets, the suite's own tables, differences, and accuracy by length and format."""
    yield score_table(done)
    yield subset_table(done)
    yield from _suite_tables(done)
    if done.comparisons:
        yield comparison_table(done)
    yield style_table(done, "length of the right response over the wrong one's", "by_length")
    yield style_table(done, "format of the right response beside the wrong one's", "by_format")


def score_table(done: Evaluation) -> Table:
    """A column per model: the published columns, the score and its interval, all items."""
    first = done.models[0].report
    table = _table(done, done.title)
    for name in first.columns:
        table.add_row(name, *(percent(one.report.columns[name]) for one in done.models))
    table.add_section()
    table.add_row(first.score_name, *(percent(one.report.score) for one in done.models))
    table.add_row(f"{LEVEL:.0%} interval", *(_interval(one.interval) for one in done.models))
    table.add_section()
    table.add_row("mean of all items", *(percent(one.report.overall) for one in done.models))
    table.add_row("items", *(str(one.report.n) for one in done.models))
    return table


def subset_table(done: Evaluation) -> Table:
    """A row per subset: how many items, and each model's score and ties."""
    table = Table("subset", "section", title="by subset")
    for name in ("items", *(short(one.name) for one in done.models), "tied"):
        table.add_column(name, justify="right")
    by_name = [{line.subset: line for line in one.report.lines} for one in done.models]
    for subset in dict.fromkeys(name for lines in by_name for name in lines):
        found = [lines.get(subset) for lines in by_name]
        line = next(one for one in found if one is not None)
        section = line.section or ("" if line.counted else "(not counted)")
        scores = [percent(None if one is None else one.score) for one in found]
        ties = "/".join(str(one.ties) if one else "-" for one in found)
        table.add_row(subset, section, _count(line), *scores, ties)
    return table


def comparison_table(done: Evaluation) -> Table:
    """A row per pair of models: the difference of their scores on the items both have."""
    table = Table("difference", title="paired bootstrap")
    for name in ("score", f"{LEVEL:.0%} interval", "first better in", "units"):
        table.add_column(name, justify="right")
    for one in done.comparisons:
        table.add_row(
            f"{short(one.a)} - {short(one.b)}",
            f"{100 * one.difference:+.2f}",
            _interval(one.interval, signed=True),
            f"{one.p_better:.1%}",
            str(one.n),
        )
    return table


def style_table(done: Evaluation, title: str, field: str) -> Table:
    """A row per model: accuracy by bin, and what it prefers."""
    found: list[Sequence[Bin]] = [getattr(one.style, field) for one in done.models]
    table = Table("model", title=f"accuracy by {title}")
    for one in found[0]:
        table.add_column(f"{one.label}\n(n {one.n:.0f})", justify="right")
    preferred = "prefers longer" if field == "by_length" else "prefers Markdown"
    table.add_column(f"{preferred}\n(right: it is)", justify="right")
    for model, bins in zip(done.models, found, strict=True):
        style = model.style
        longer = (style.prefers_longer, style.better_longer)
        shares = longer if field == "by_length" else (style.prefers_markdown, style.better_markdown)
        cells = [percent(one.accuracy) for one in bins]
        table.add_row(short(model.name), *cells, "{} ({})".format(*map(percent, shares)))
    return table


def notes(done: Evaluation) -> list[str]:
    """What the tables leave out, one sentence per line."""
    lines = []
    if not all(one.report.complete for one in done.models):
        lines.append("the score is of the items that were judged, not of the whole published set")
    if done.n_left_out:
        lines.append(f"{done.n_left_out} of {done.n_rows} rows are not counted by the suite")
    for one in done.models:
        lines += [f"{one.name}: {note}" for note in one.report.notes]
        if one.truncated:
            lines.append(f"{one.name}: the start of {one.truncated} items' chats was cut")
    return lines


def refusals(done: Evaluation) -> list[str]:
    """The first rows that could not be judged, and how many more there are."""
    found = done.refused
    more = len(found) - SHOWN
    lines = [str(one) for one in found[:SHOWN]]
    return [*lines, f"... and {more} more rows that could not be judged"] if more > 0 else lines


def identities(done: Evaluation) -> list[str]:
    """Who answered, one line per model."""
    return ["{model} @ {revision}, {numerics}".format(**one.identity) for one in done.models]


def as_json(done: Evaluation) -> dict[str, Any]:
    """Everything but the individual items, which are in the results of each model."""
    return {
        "suite": done.suite,
        "title": done.title,
        "data": list(done.data),
        "n_rows": done.n_rows,
        "n_left_out": done.n_left_out,
        "seed": done.seed,
        "models": [_model(one) for one in done.models],
        "comparisons": [asdict(one) for one in done.comparisons],
        "refused": [str(one) for one in done.refused],
    }


def percent(score: float | None) -> str:
    """Two decimals, as published; a dash where there is nothing."""
    return "-" if score is None else f"{100 * score:.2f}"


def short(name: str) -> str:
    """The end of a long name, such as a folder's."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _table(done: Evaluation, title: str) -> Table:
    """An empty table with a column per model."""
    table = Table("", title=title)
    for one in done.models:
        table.add_column(short(one.name), justify="right")
    return table


def _model(one: ModelResult) -> dict[str, Any]:
    return {
        "name": one.name,
        **one.identity,
        "interval": None if one.interval is None else asdict(one.interval),
        "truncated": one.truncated,
        "n_refused": len(one.refused),
        **asdict(one.report),
        "style": asdict(one.style),
    }


def _suite_tables(done: Evaluation) -> Iterator[Table]:
    for model in done.models:
        for title, rows in model.report.tables.items():
            table = Table("", title=f"{title}: {short(model.name)}")
            columns = dict.fromkeys(name for row in rows.values() for name in row)
            for name in columns:
                table.add_column(name, justify="right")
            for label, row in rows.items():
                table.add_row(label, *(percent(row.get(name)) for name in columns))
            yield table


def _interval(found: Interval | None, signed: bool = False) -> str:
    if found is None:
        return "-"
    form = "{:+.2f} to {:+.2f}" if signed else "{:.2f} to {:.2f}"
    return form.format(100 * found.low, 100 * found.high)


def _count(line: Line) -> str:
    return str(line.n) if line.expected in (None, line.n) else f"{line.n} of {line.expected}"
