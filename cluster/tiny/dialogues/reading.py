"""Real dialogues of a file of preference pairs in HH-RLHF's form.

The data: "Training a Helpful and Harmless Assistant with Reinforcement Learning from Human
Feedback" (arXiv 2204.05862), github.com/anthropics/hh-rlhf, MIT.
Invariant: rows before `TRAINING_ROWS` are for training, those from there on for judging.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cluster.data.formats import ask_of
from cluster.data.jsonl import BrokenRow
from cluster.data.reader import read_rows
from cluster.errors import InvalidInput
from cluster.types import Message

TRAINING_ROWS = 1000
LEAST_WORDS = 8
"""A reply of fewer words can be cut, shuffled or swapped without any harm that could be seen."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The turns before a reply of the assistant, and that reply."""

    prompt: tuple[Message, ...]
    reply: str

    def recent(self, most_words: int) -> Dialogue:
        """Without the earliest turns where the prompt has more words; the last turn stays."""
        turns = list(self.prompt)
        while len(turns) > 2 and sum(len(turn["content"].split()) for turn in turns) > most_words:
            turns = turns[2:]
        return Dialogue(tuple(turns), self.reply)


@dataclass(frozen=True, slots=True)
class Dialogues:
    """training: one of every reply of the first rows. judging: the last reply of the others."""

    training: tuple[Dialogue, ...]
    judging: tuple[Dialogue, ...]


def read_dialogues(source: str | Path) -> Dialogues:
    """Every usable dialogue of `source`.

    Raises InvalidInput where there is none to train on or to judge by.
    """
    rows = [row.value for row in read_rows(source) if not isinstance(row, BrokenRow)]
    training = tuple(_every_reply(islice(rows, TRAINING_ROWS)))
    judging = tuple(_last_replies(islice(rows, TRAINING_ROWS, None)))
    if len(training) < 2 or len(judging) < 2:
        raise InvalidInput(
            f"{source} has {len(rows)} rows of which too few are dialogues; the recipe trains on "
            f"the first {TRAINING_ROWS} and judges by the rest: give HH-RLHF's harmless-base test "
            "file, or one like it"
        )
    return Dialogues(training, judging)


def _every_reply(rows: Iterable[dict[str, Any]]) -> Iterator[Dialogue]:
    """Each reply of both sides, once."""
    found: dict[tuple[str, ...], Dialogue] = {}
    for row in rows:
        for turns in _sides(row):
            for place in range(1, len(turns), 2):
                dialogue = _dialogue(turns[: place + 1])
                if dialogue:
                    found.setdefault(tuple(m["content"] for m in turns[: place + 1]), dialogue)
    yield from found.values()


def _last_replies(rows: Iterable[dict[str, Any]]) -> Iterator[Dialogue]:
    """The last reply of the chosen sides."""
    for row in rows:
        for turns in _sides(row)[:1]:
            dialogue = _dialogue(turns)
            if dialogue:
                yield dialogue


def _sides(row: dict[str, Any]) -> list[Sequence[Message]]:
    """Both sides of a row, chosen first, as far as they are messages."""
    try:
        return [turns for turns in ask_of(row).conversations if isinstance(turns, list)]
    except InvalidInput:
        return []


def _dialogue(turns: Sequence[Message]) -> Dialogue | None:
    """None where the turns do not alternate, one is empty, or the reply has few words."""
    roles = [turn["role"] for turn in turns]
    if roles != ["user", "assistant"] * (len(turns) // 2) or not all(t["content"] for t in turns):
        return None
    reply = turns[-1]["content"]
    if len(reply.split()) < LEAST_WORDS:
        return None
    return Dialogue(tuple(turns[:-1]), reply)
