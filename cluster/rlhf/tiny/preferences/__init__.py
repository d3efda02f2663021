"""Preferences made by the project itself: graded responses to generated prompts.

Invariant: a group depends on (seed, split, kind, index) alone, so that any part of the data can
be made again, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random

from cluster.rlhf.tiny.preferences import arithmetic, conversation, instructions
from cluster.rlhf.tiny.preferences.groups import Group, Split

__all__ = ["KINDS", "Group", "Split", "groups"]

KINDS: dict[str, tuple[Callable[[Random, Split], Group], float]] = {
    "addition": (arithmetic.addition, 3),
    "subtraction": (arithmetic.subtraction, 3),
    "multiplication": (arithmetic.multiplication, 3),
    "letter_case": (instructions.letter_case, 1.3),
    "list_length": (instructions.list_length, 1.3),
    "one_word": (instructions.one_word, 0.6),
    "sentence_count": (instructions.sentence_count, 1.3),
    "repeat": (instructions.repeat, 1),
    "mention": (instructions.mention, 1),
    "address": (instructions.address, 1),
    "politeness": (conversation.politeness, 0.6),
    "on_topic": (conversation.on_topic, 2),
    "memory": (conversation.memory, 2),
    "fluency": (conversation.fluency, 0.8),
}
"""kind -> (its generator, its weight in training: hard kinds are shown more often)."""


def groups(
    split: Split, n_per_kind: int, seed: int, kinds: Iterable[str] = tuple(KINDS)
) -> Iterator[Group]:
    """n_per_kind groups of every kind, in training times the kind's weight, kind by kind."""
    for kind in kinds:
        make, weight = KINDS[kind]
        n_groups = round(n_per_kind * weight) if split == "train" else n_per_kind
        for index in range(n_groups):
            yield make(Random(f"{seed} {split} {kind} {index}"), split)
