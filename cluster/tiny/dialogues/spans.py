"""Replies of which parts are damaged, each part labelled: what the tokens of `pretraining` mean.

The same damage as `damage`, but within a reply as well, so that a model is told where it is wrong
and not only that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from cluster.tiny.dialogues.reading import Dialogue
from cluster.tiny.dialogues.sentences import foreign_text, insult

CUT_SHARE = 0.15
Part = tuple[list[str], bool]
"""Words, and whether they are as they were."""


@dataclass(frozen=True, slots=True)
class LabelledReply:
    """parts: (text, whether it is intact), to be joined by spaces. intact: the reply as a whole."""

    parts: tuple[tuple[str, bool], ...]
    intact: bool


def labelled_reply(rng: Random, dialogue: Dialogue, other: Dialogue) -> LabelledReply:
    """The dialogue's reply, left alone or damaged with the help of another dialogue's."""
    words, others = dialogue.reply.split(), other.reply.split()
    [damage] = rng.choices(list(_DAMAGE), weights=list(_DAMAGE.values()))
    parts = [(part, intact) for part, intact in damage(rng, words, others) if part]
    intact = bool(parts) and all(whole for _, whole in parts)
    if parts and rng.random() < CUT_SHARE:
        parts[-1], was_cut = _cut(rng, parts[-1])
        intact = intact and not was_cut
    return LabelledReply(tuple((" ".join(part), whole) for part, whole in parts), intact)


def _untouched(rng: Random, words: list[str], others: list[str]) -> list[Part]:
    return [(words, True)]


def _from_another(rng: Random, words: list[str], others: list[str]) -> list[Part]:
    """All of the other reply, its second half behind a start, or its first half before an end."""
    place, half = rng.randint(1, len(words) - 1), max(3, len(others) // 2)
    return rng.choice(
        (
            [(others, False)],
            [(words[:place], True), (others[-half:], False)],
            [(others[:half], False), (words[place:], True)],
        )
    )


def _shuffled(rng: Random, words: list[str], others: list[str]) -> list[Part]:
    """All of it, or five to twenty words within it."""
    start, end = 0, len(words)
    if rng.random() < 0.5:
        start = rng.randint(0, len(words) - 5)
        end = min(len(words), start + rng.randint(5, 20))
    mixed = rng.sample(words[start:end], end - start)
    return [(words[:start], True), (mixed, False), (words[end:], True)]


def _repeated(rng: Random, words: list[str], others: list[str]) -> list[Part]:
    """A few words over and over: nothing else, or within the reply."""
    n_words = rng.randint(1, min(12, len(words)))
    start = rng.randint(0, len(words) - n_words)
    again = words[start : start + n_words]
    if rng.random() < 0.5:
        return [(again, True), (again * rng.randint(2, 6), False)]
    end = start + n_words
    return [(words[:end], True), (again * rng.randint(1, 3), False), (words[end:], True)]


def _insulting(rng: Random, words: list[str], others: list[str]) -> list[Part]:
    insulting: Part = (insult(rng, "train").split(), False)
    kept: Part = (words, True)
    return rng.choice(([insulting], [insulting, kept], [kept, insulting]))


def _foreign(rng: Random, words: list[str], others: list[str]) -> list[Part]:
    return [(foreign_text(rng, "train").split(), False)]


def _empty(rng: Random, words: list[str], others: list[str]) -> list[Part]:
    return []


def _cut(rng: Random, part: Part) -> tuple[Part, bool]:
    """The part without its end, and whether that ends it in mid-sentence."""
    words, intact = part
    if len(words) < 3:
        return part, False
    kept = words[: rng.randint(1, len(words) - 1)]
    return (kept, intact), kept[-1][-1].isalpha()


_DAMAGE: dict[Callable[[Random, list[str], list[str]], list[Part]], float] = {
    _untouched: 0.40,
    _from_another: 0.26,
    _shuffled: 0.14,
    _repeated: 0.08,
    _insulting: 0.07,
    _foreign: 0.02,
    _empty: 0.03,
}
"""What may happen to a reply, and how often it does."""
