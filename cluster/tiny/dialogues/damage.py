"""Plain damage to a real reply, kind by kind: what any reader would see.

Invariant: a damaged reply depends on the dialogue, the split and the generator's state alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from cluster.rlhf.synthetic.preferences.groups import GradedGroup, Split, graded
from cluster.tiny.dialogues.reading import Dialogue
from cluster.tiny.dialogues.sentences import foreign_text, insult

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def another_dialogue(rng: Random, split: Split, reply: str, other: str) -> str:
    """The reply of another dialogue."""
    return other


def insulting(rng: Random, split: Split, reply: str, other: str) -> str:
    """An insult instead of the reply, before it, or after it."""
    words = insult(rng, split)
    return rng.choice((words, f"{words} {reply}", f"{reply} {words}"))


def shuffled(rng: Random, split: Split, reply: str, other: str) -> str:
    """The words of the reply in another order."""
    words = reply.split()
    return " ".join(rng.sample(words, len(words)))


def cut(rng: Random, split: Split, reply: str, other: str) -> str:
    """The beginning of the reply, ended within a sentence."""
    words = reply.split()
    places = [n for n in range(2, len(words)) if words[n - 1][-1].isalpha()] or [len(words) // 2]
    return " ".join(words[: rng.choice(places)])


def repeated(rng: Random, split: Split, reply: str, other: str) -> str:
    """A word or a few over and over, or a sentence or the whole reply several times."""
    words = reply.split()
    if rng.random() < 0.5:
        n_words = rng.randint(1, min(6, len(words)))
        start = rng.randint(0, len(words) - n_words)
        return " ".join(words[start : start + n_words] * rng.randint(4, 10))
    sentences = _SENTENCE_END.split(reply)
    again = rng.choice((sentences[0], sentences[-1], reply))
    return " ".join([reply, *[again] * rng.randint(1, 3)])


def empty(rng: Random, split: Split, reply: str, other: str) -> str:
    """Nothing."""
    return ""


def other_language(rng: Random, split: Split, reply: str, other: str) -> str:
    """Sentences in a language that is not English."""
    return foreign_text(rng, split)


DAMAGE: dict[str, Callable[[Random, Split, str, str], str]] = {
    "another_dialogue": another_dialogue,
    "insult": insulting,
    "shuffled": shuffled,
    "cut": cut,
    "repeated": repeated,
    "empty": empty,
    "other_language": other_language,
}
"""kind -> what it does to (generator, split, reply, another dialogue's reply)."""


def damaged_groups(
    rng: Random, split: Split, dialogue: Dialogue, others: Sequence[Dialogue], kinds: Sequence[str]
) -> list[GradedGroup]:
    """A group of two a kind: the reply, and what is left of it.

    `others`: where a reply of another dialogue is taken from; one with another first turn is found
    among them, else the kind is left out.
    """
    other = rng.choice(others)
    strange = other.prompt[0] != dialogue.prompt[0] and other.reply != dialogue.reply
    found = []
    for kind in kinds:
        if kind != "another_dialogue" or strange:
            damaged = DAMAGE[kind](rng, split, dialogue.reply, other.reply)
            found.append(graded(rng, kind, dialogue.prompt, dialogue.reply, damaged))
    return [group for group in found if len(group.responses) == 2]
