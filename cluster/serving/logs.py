"""Structured log events: a name, then fields.

Serve's JSON encoding (`logging_config: {encoding: JSON}`) makes every field a key of its own; its
text encoding shows them as name=value. An event never carries any of a request's payload: fields
are counts, seconds, codes and ids that this project generated or checked.
"""

from __future__ import annotations

import logging

LOGGER = "ray.serve.reward_cluster"
"""Below Serve's own logger, so that Serve's handlers and encoding apply."""

Field = str | int | float | bool | None


def event(name: str, *, level: int = logging.INFO, **fields: Field) -> None:
    """Log the event `name` with `fields`; a field that is None is left out."""
    logger = logging.getLogger(LOGGER)
    if not logger.isEnabledFor(level):
        return
    known = {key: value for key, value in fields.items() if value is not None}
    text = " ".join([name, *(f"{key}={_short(value)}" for key, value in known.items())])
    logger.log(level, text, extra={"event": name, **known})


def _short(value: Field) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
