"""Call options: priority and deadline, validated at every entry (actor, handle, HTTP).

Checked before anything is queued: a priority that cannot be compared, or a deadline that is not a
number, would otherwise fail inside the queue and harm other calls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from cluster.config import MAX_PRIORITY, TransformConfig
from cluster.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Options of one call. deadline: on `time.monotonic`, None means no deadline. job: the caller's
    Ray job.

    transforms: recorded next to the raw rewards; see `cluster.serving.scoring.transformed`.
    """

    priority: int = 0
    deadline: float | None = None
    job: str = ""
    transforms: tuple[TransformConfig, ...] = ()


def check_call_options(priority: Any, deadline_s: Any = None) -> None:
    """Raises InvalidInput unless priority is a whole number within +-1000 and deadline_s finite.

    deadline_s: seconds, or a moment in seconds; None is no deadline.
    """
    whole = isinstance(priority, Integral) and not isinstance(priority, bool)
    if not whole or abs(priority) > MAX_PRIORITY:
        raise InvalidInput(
            f"priority must be a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}, "
            f"not {_shown(priority)}"
        )
    if deadline_s is not None and not _is_finite(deadline_s):
        raise InvalidInput(
            f"a deadline must be a finite number of seconds, or None, not {_shown(deadline_s)}"
        )


def _is_finite(value: Any) -> bool:
    try:
        return type(value) is not bool and isinstance(value, Real) and math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    """The value if it is a short number; a caller's long text does not belong in a log."""
    text = repr(value) if isinstance(value, int | float) and abs(value) < 10**20 else ""
    return text or f"a {type(value).__name__}"
