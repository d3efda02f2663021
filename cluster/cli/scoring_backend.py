"""Scoring backend of a command: an engine in this process, or a running service."""

from __future__ import annotations

from collections.abc import Iterable

import click


def refuse_beside_service(service: object, given: Iterable[str]) -> None:
    """Raises UsageError for engine options that would be ignored because a service scores.

    service: what is to score instead, if anything.
    """
    names = ", ".join(sorted(given))
    if service and names:
        raise click.UsageError(f"a service scores by its own model and settings; leave out {names}")
