"""RM-Bench: three right and three wrong responses, each concise, detailed and in Markdown.

Every right response is compared with every wrong one, a matrix of 3 x 3 styles; a tie is wrong.
Hard is the mean above the diagonal (the wrong response has the richer style), normal the diagonal,
easy below it. A domain is the mean of its nine cells; both safety sets are one domain. Hard,
normal, easy and the average are means over the four domains.

Source: THU-KEG/RM-Bench, README.md (compute_accuracy) and scripts/utils.py; Liu et al. 2024
(arXiv 2410.16184), table 2. Columns: id, prompt, chosen[3], rejected[3], domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cluster.data.jsonl import Row
from cluster.errors import InvalidInput
from cluster.evaluation.row_fields import need, replies
from cluster.evaluation.suite import Suite, grouped
from cluster.evaluation.types import Item, Judged, SourcedRow, Table

STYLES = ("concise", "detailed", "markdown")
DOMAINS = ("chat", "math", "code", "safety")
LEVELS = ("hard", "normal", "easy")
N = len(STYLES)
_CELLS = tuple((i, N + j) for i in range(N) for j in range(N))


class RMBench(Suite):
    """Sensitivity to substance, robustness to style."""

    name = "rm-bench"
    title = "RM-Bench"
    score_name = "avg"
    sizes: ClassVar[Mapping[str, int]] = {
        "chat": 129,
        "math": 529,
        "code": 228,
        "safety-refuse": 284,
        "safety-response": 157,
    }

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return "domain" in row and all(_three(row.get(name)) for name in ("chosen", "rejected"))

    def item(self, sourced: SourcedRow, row: Row) -> Item:
        value = row.value
        domain = str(need(value, "domain"))
        named: dict[str, Any] = {}
        for side in ("chosen", "rejected"):
            if not _three(need(value, side)):
                raise InvalidInput(f"`{side}` must be a list of {N} responses: {', '.join(STYLES)}")
            named |= {f"{side}[{i}]": value[side][i] for i in range(N)}
        return Item(
            sourced.source,
            row.number,
            str(value.get("id", "")),
            domain,
            replies(need(value, "prompt"), named),
            truth=(1.0,) * N + (0.0,) * N,
            pairs=_CELLS,
        )

    def stratum(self, item: Item) -> str | None:
        return _domain(item.subset)

    def columns(
        self, judged: Sequence[Judged], strata: Mapping[str, float]
    ) -> dict[str, float | None]:
        domains = {name: strata.get(name) for name in DOMAINS}
        return domains | _mean_levels([levels(one) for one in _by_domain(judged).values()])

    def tables(self, judged: Sequence[Judged]) -> dict[str, Table]:
        domains = _by_domain(judged)
        by_domain = {name: levels(ones) for name, ones in domains.items()}
        if not domains:
            return {}
        cells = np.mean([matrix(ones) for ones in domains.values()], axis=0)
        return {"level by domain": by_domain, "right style by wrong style": _show(cells)}


def matrix(judged: Sequence[Judged]) -> npt.NDArray[np.float64]:
    """Share of right comparisons by the style of the right (row) and the wrong response."""
    right = [[one.right(*cell) for cell in _CELLS] for one in judged]
    return np.mean(right, axis=0, dtype=np.float64).reshape(N, N)


def levels(judged: Sequence[Judged]) -> dict[str, float | None]:
    """Hard, normal and easy of some items."""
    cells = matrix(judged)
    above, below = np.triu_indices(N, 1), np.tril_indices(N, -1)
    parts = (cells[above], np.diag(cells), cells[below])
    return {name: float(part.mean()) for name, part in zip(LEVELS, parts, strict=True)}


def _by_domain(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """In the order of the published table; others are not counted."""
    found = grouped(judged, lambda one: _domain(one.item.subset))
    return {name: found[name] for name in DOMAINS if name in found}


def _domain(subset: str) -> str | None:
    return next((name for name in DOMAINS if subset.startswith(name)), None)


def _mean_levels(found: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    return {
        level: float(np.mean([one[level] for one in found])) if found else None for level in LEVELS
    }


def _show(cells: npt.NDArray[np.float64]) -> Table:
    return {
        f"right {style}": {f"wrong {other}": float(cells[i, j]) for j, other in enumerate(STYLES)}
        for i, style in enumerate(STYLES)
    }


def _three(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == N and all(isinstance(one, str) for one in value)
    )
