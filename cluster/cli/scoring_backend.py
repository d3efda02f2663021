"""Scoring backend of a command: an engine in this process, or a running service."""

from __future__ import annotations

from collections.abc import Iterable

import click


def refuse_beside_app(app: str | None, given: Iterable[str]) -> None:
    """An option of the engine would be ignored beside `--app`. Raises UsageError."""
    names = ", ".join(sorted(given))
    if app is not None and names:
        raise click.UsageError(f"--app scores by the service's own model; leave out {names}")
