"""Dialogues with other words in the place of theirs, so that nothing but matching is to be learned.

A thousand rows are few: a model that is told which reply belongs to which prompt learns the topics
by heart. Where every rarer word stands for another one, the same one in all turns, what belongs
together can only be told by looking.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from random import Random

from cluster.tiny.dialogues.reading import Dialogue
from cluster.types import Message

_WORD = re.compile(r"[A-Za-z]{3,}")
COMMON_WORDS = 150
"""The most frequent ones stay: they carry the grammar."""


class WordSwapper:
    """Swaps the rarer words of dialogues for one another."""

    def __init__(self, dialogues: Iterable[Dialogue]) -> None:
        counts = Counter(
            word.lower() for dialogue in dialogues for word in _WORD.findall(_text(dialogue))
        )
        ranked = [word for word, _ in counts.most_common()]
        self._common, self._rare = frozenset(ranked[:COMMON_WORDS]), ranked[COMMON_WORDS:]

    def swapped(self, rng: Random, dialogue: Dialogue) -> Dialogue:
        """The dialogue with every rarer word replaced, always by the same one."""
        instead: dict[str, str] = {}

        def other(match: re.Match[str]) -> str:
            word = match.group()
            if word.lower() in self._common:
                return word
            new = instead.setdefault(word.lower(), rng.choice(self._rare))
            return new.capitalize() if word[0].isupper() else new

        def message(old: Message) -> Message:
            return Message(role=old["role"], content=_WORD.sub(other, old["content"]))

        prompt = tuple(message(old) for old in dialogue.prompt)
        return Dialogue(prompt, _WORD.sub(other, dialogue.reply))


def _text(dialogue: Dialogue) -> str:
    return " ".join([*(turn["content"] for turn in dialogue.prompt), dialogue.reply])
