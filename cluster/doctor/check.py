"""Check: one question of the doctor's, what was found, and the remedy if it is a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cluster.errors import RewardError

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """name: what was checked. found: in words; for a problem, its remedy too."""

    name: str
    state: State
    found: str


def size(n_bytes: int) -> str:
    """In the unit that suits it."""
    mib = n_bytes / 2**20
    return f"{mib:.1f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def tried(name: str, look: Callable[[], str]) -> Check:
    """`look`'s words, or the RewardError that it raised as a problem."""
    try:
        return Check(name, "ok", look())
    except RewardError as error:
        return Check(name, "problem", str(error))
