"""The line in which requests wait, and what each costs beside others of its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from cluster.types import Encoding


@dataclass(eq=False, slots=True)
class Request:
    """One sequence that waits; made by the caller, subclassed to carry more.

    key: equal for sequences whose rewards are equal bits.
    priority: higher is sooner.
    deadline: after which the answer is useless, None is never.
    arrived: when it first asked; times are seconds on whatever clock `now` is from.
    """

    encoding: Encoding
    key: bytes
    priority: int = 0
    deadline: float | None = None
    arrived: float = 0.0


R = TypeVar("R", bound=Request)
