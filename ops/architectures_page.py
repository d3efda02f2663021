"""Measures how every architecture is scored and writes the tables of pages/architectures.md.

Usage: python ops/architectures_page.py. About a hundred small random checkpoints are made, scored
in each dtype and numerics and held to transformers (see tests/support/architecture_matrix.py); a
wrong reward or bit ends the run, and the page stays. The test suite does this for a few of them.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "ops" / "docs" / "pages" / "architectures.md"
BEGIN, END = "<!-- matrix: begin -->\n", "<!-- matrix: end -->\n"
sys.path.insert(0, str(ROOT / "tests"))

from support.architecture_matrix import THREADS, TITLES, row, table_line  # noqa: E402
from support.architecture_variants import GROUPS, Variant  # noqa: E402

from cluster.bench.hardware import describe  # noqa: E402


def table(title: str, group: dict[str, Variant]) -> str:
    """A section of the page."""
    lines = [f"## {title}", "", table_line(TITLES), table_line(["---"] * len(TITLES))]
    for name in group:
        print(name, file=sys.stderr)
        lines.append(table_line(row(name)))
    return "\n".join([*lines, ""])


def matrix() -> str:
    """All tables, under the machine and the day."""
    machine = describe(torch.device("cpu"))
    head = (
        f"`python ops/architectures_page.py`, {machine['date']}, {machine['device']}, "
        f"{THREADS} thread, torch {machine['torch']}, transformers {machine['transformers']}.\n"
    )
    return "\n".join([head, *(table(title, group) for title, group in GROUPS.items())])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    tables = matrix()
    head, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}")
