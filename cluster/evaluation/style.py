"""Style bias: accuracy against length and format.

Over the comparisons of any suite, those of an item together weighing 1; equal rewards are wrong.
Length is characters of the response. Format is the share of its lines that are Markdown: a heading,
a list item, a table row, a quotation, a code fence, or bold text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.evaluation.types import Judged

_MARKDOWN = re.compile(r"\s*(#{1,6}\s|[-*+]\s|\d+[.)]\s|\||>|```|~~~)|.*\*\*\S")
LENGTH_EDGES = (0.5, 0.8, 1.25, 2.0)
"""Of the better response's length over the worse one's."""
LENGTH_BINS = ("under 1/2", "1/2 to 4/5", "about equal", "5/4 to 2", "over 2")
FORMAT_EDGE = 0.05
"""Difference of Markdown shares up to which two responses are alike."""
FORMAT_BINS = ("less Markdown", "alike", "more Markdown")


@dataclass(frozen=True, slots=True)
class Bin:
    """Comparisons whose better response is so much longer or richer. n: items' weight in it."""

    label: str
    n: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class StyleReport:
    """by_length, by_format: from the better response being shorter or plainer to the opposite.

    prefers_longer, prefers_markdown: of the comparisons that differ so, the share in which the
        longer or the richer response has the higher reward, right or wrong; equal rewards half.
    better_longer, better_markdown: the share in which the better response is the longer or richer
        one: what a judge without errors would prefer.
    """

    by_length: tuple[Bin, ...]
    by_format: tuple[Bin, ...]
    prefers_longer: float | None
    better_longer: float | None
    prefers_markdown: float | None
    better_markdown: float | None


def markdown_share(text: str) -> float:
    """Markdown lines over lines that are not blank, 0 without any."""
    lines = [line for line in text.splitlines() if line.strip()]
    return sum(bool(_MARKDOWN.match(line)) for line in lines) / len(lines) if lines else 0.0


def style_report(judged: Iterable[Judged]) -> StyleReport:
    """Of all comparisons of some items."""
    rows = np.array([row for one in judged for row in _rows(one)]).reshape(-1, 4)
    ratio, richer, gap, weight = rows.T
    lengths = np.digitize(ratio, LENGTH_EDGES)
    formats = np.where(richer < -FORMAT_EDGE, 0, np.where(richer > FORMAT_EDGE, 2, 1))
    longer = np.sign(np.log(ratio))
    return StyleReport(
        _bins(LENGTH_BINS, lengths, gap, weight),
        _bins(FORMAT_BINS, formats, gap, weight),
        *_preference(longer, gap, weight),
        *_preference(formats - 1.0, gap, weight),
    )


def _rows(judged: Judged) -> list[tuple[float, float, float, float]]:
    """Per comparison: length ratio, difference of Markdown, of rewards, and its weight."""
    candidates = judged.item.candidates
    lengths = [max(1, len(one.text)) for one in candidates]
    shares = [markdown_share(one.text) for one in candidates]
    return [
        (
            lengths[i] / lengths[j],
            shares[i] - shares[j],
            judged.rewards[i] - judged.rewards[j],
            1 / len(judged.item.pairs),
        )
        for i, j in judged.item.pairs
    ]


Floats = npt.NDArray[np.float64]


def _bins(
    labels: Sequence[str], places: npt.NDArray[np.int64], gap: Floats, weight: Floats
) -> tuple[Bin, ...]:
    found = []
    for place, label in enumerate(labels):
        inside = places == place
        n = float(weight[inside].sum())
        right = float(weight[inside & (gap > 0)].sum())
        found.append(Bin(label, n, right / n if n else None))
    return tuple(found)


def _preference(sign: Floats, gap: Floats, weight: Floats) -> tuple[float | None, float | None]:
    """Of what differs: the share the model prefers, and the share that is better. sign: of the
    better response, 1 if it has more of it, -1 less, 0 alike."""
    differs = weight * (sign != 0)
    total = float(differs.sum())
    if not total:
        return None, None
    preferred = (np.sign(gap) * sign + 1) / 2
    return float(differs @ preferred) / total, float(differs @ (sign > 0)) / total
