"""Writes the file-by-file map of the package into ops/docs/architecture.md.

Usage: python ops/module_map.py. A line per module: its path and the first sentence of its
docstring.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "ops" / "docs" / "architecture.md"
BEGIN, END = "<!-- module map: begin -->\n", "<!-- module map: end -->\n"


def first_sentence(path: Path) -> str:
    """Of the module's docstring, on one line, without its full stop. Raises ValueError."""
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    if not docstring:
        raise ValueError(f"{path} has no docstring")
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph)[0].rstrip(".:").replace("|", "\\|")


def module_map(package: Path) -> str:
    """A section per folder that holds modules, a table row per module with content."""
    lines: list[str] = []
    for folder in sorted({path.parent for path in package.rglob("*.py")}):
        init = folder / "__init__.py"
        modules = sorted(path for path in folder.glob("*.py") if path != init)
        title = f"{folder.relative_to(package.parent)}/"
        lines += [f"### `{title}`", ""]
        if init.is_file() and init.read_text().strip():
            lines += [f"{first_sentence(init)}.", ""]
        if modules:
            lines += ["| module | content |", "|---|---|"]
            lines += [f"| `{path.name}` | {first_sentence(path)} |" for path in modules]
            lines.append("")
    return "\n".join(lines)


def updated(page: str) -> str:
    """`page` with the map of today between its markers."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{module_map(ROOT / 'cluster')}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
