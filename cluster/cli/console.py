"""Console: where tables are printed."""

from __future__ import annotations

from rich.console import Console


def table_console() -> Console:
    """Standard output; wide enough for a table where it is a file."""
    console = Console()
    return console if console.is_terminal else Console(width=100)
