"""Graded groups: several responses to one prompt, each with its grade.

Invariant: a value (a word, a name, a topic, a pair of operands) belongs to one split for good,
decided by its own hash, so held-out groups ask about values that no training group has shown.
Knows nothing of tokens or models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from random import Random
from typing import Literal

from cluster.types import Message

Split = Literal["train", "held_out"]
HELD_OUT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class GradedGroup:
    """Responses to one prompt. grades: one a response, the higher the better."""

    kind: str
    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    grades: tuple[float, ...]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """(better, worse) indices of every two responses of different grade."""
        for i, j in combinations(range(len(self.responses)), 2):
            if self.grades[i] != self.grades[j]:
                yield (i, j) if self.grades[i] > self.grades[j] else (j, i)


def graded(
    rng: Random, kind: str, prompt: Sequence[Message], *tiers: str | Iterable[str]
) -> GradedGroup:
    """A Group of the tiers' distinct responses, best tier first, in shuffled order."""
    found: dict[str, float] = {}
    for rank, tier in enumerate(tiers):
        for response in [tier] if isinstance(tier, str) else tier:
            found.setdefault(response, float(-rank))
    items = list(found.items())
    rng.shuffle(items)
    responses, grades = zip(*items, strict=True)
    return GradedGroup(kind, tuple(prompt), responses, grades)


def split_of(value: str) -> Split:
    """The split that `value` belongs to."""
    first = hashlib.sha256(value.encode()).digest()[0]
    return "held_out" if first < 256 * HELD_OUT_SHARE else "train"


@cache
def of_split(values: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """The values that belong to `split`."""
    return tuple(value for value in values if split_of(value) == split)


def user(content: str) -> Message:
    return Message(role="user", content=content)


def assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


def system(content: str) -> Message:
    return Message(role="system", content=content)
