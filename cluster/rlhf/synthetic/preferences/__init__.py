"""Preferences made by the project itself: graded responses to generated prompts.

Invariant: a group depends on (seed, split, kind, index) alone, so that any part of the data can
be made again, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random

from cluster.rlhf.synthetic.preferences import arithmetic, conversation, instructions
from cluster.rlhf.synthetic.preferences.groups import GradedGroup, Split

__all__ = ["KINDS", "GradedGroup", "Split", "groups", "of_each"]

KINDS: dict[str, Callable[[Random, Split], GradedGroup]] = {
    "addition": arithmetic.addition,
    "subtraction": arithmetic.subtraction,
    "multiplication": arithmetic.multiplication,
    "long_multiplication": arithmetic.long_multiplication,
    "letter_case": instructions.letter_case,
    "list_length": instructions.list_length,
    "one_word": instructions.one_word,
    "sentence_count": instructions.sentence_count,
    "repeat": instructions.repeat,
    "mention": instructions.mention,
    "address": instructions.address,
    "politeness": conversation.politeness,
    "on_topic": conversation.on_topic,
    "memory": conversation.memory,
    "fluency": conversation.fluency,
}
"""kind -> its generator."""


def groups(split: Split, numbers: Mapping[str, int], seed: int) -> Iterator[GradedGroup]:
    """As many groups of each kind as `numbers` says, kind by kind."""
    for kind, number in numbers.items():
        for index in range(number):
            yield KINDS[kind](Random(f"{seed} {split} {kind} {index}"), split)


def of_each(number: int) -> dict[str, int]:
    """The same number of every kind, for `groups`."""
    return dict.fromkeys(KINDS, number)
