"""A dialogue with a labelled reply as tokens and their labels.

Every token of the reply is asked four things: whether it is intact, whether it stands in the
prompt, whether it stands in the reply before it, and which share of the reply up to it stands in
the prompt, rare tokens counting more (inverse document frequency). "The same" are tokens of the
same letters, whatever their case or the space before them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log
from typing import Any

import torch
from torch import Tensor

from cluster.tiny.dialogues.reading import Dialogue
from cluster.tiny.dialogues.spans import LabelledReply
from cluster.tiny.tokenizer import EOT
from cluster.types import Message

UNASKED = -1


@dataclass(frozen=True, slots=True)
class LabelledTokens:
    """ids [T]; intact [T]: 1 or 0; seen [T]: (in the prompt, in the reply), 1 or 0; shared [T]: the
    share that stands in the prompt. Outside the reply all are UNASKED."""

    ids: list[int]
    intact: list[int]
    seen: list[tuple[int, int]]
    shared: list[float]


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """Rows padded on the right. ids_BT; intact_BT; seen_BT2; shared_BT."""

    ids_BT: Tensor
    intact_BT: Tensor
    seen_BT2: Tensor
    shared_BT: Tensor

    @classmethod
    def of(cls, rows: Sequence[LabelledTokens], pad: int) -> LabelledBatch:
        length = max(len(row.ids) for row in rows)

        def padded(values: Iterable[list[Any]], fill: Any) -> Tensor:
            return torch.tensor([row + [fill] * (length - len(row)) for row in values])

        return cls(
            padded((row.ids for row in rows), pad),
            padded((row.intact for row in rows), UNASKED),
            padded((row.seen for row in rows), (UNASKED, UNASKED)),
            padded((row.shared for row in rows), float(UNASKED)),
        )


class Labeller:
    """Labels the tokens of one tokenizer."""

    def __init__(self, tokenizer: Any, dialogues: Iterable[Dialogue]) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.get_added_vocab().values())
        known: dict[str, int] = {}
        letters = [tokenizer.decode([token]).strip().lower() for token in range(len(tokenizer))]
        self._same = [known.setdefault(text, token) for token, text in enumerate(letters)]
        self._rarity = self._rarities([dialogue.reply for dialogue in dialogues])

    def label(self, prompt: Sequence[Message], reply: LabelledReply) -> LabelledTokens:
        """Tokens of the whole chat; its end of turn is intact where the reply is."""
        start: str = self._tokenizer.apply_chat_template(
            list(prompt), tokenize=False, add_generation_prompt=True
        )
        texts = [(" " if i else "") + text for i, (text, _) in enumerate(reply.parts)]
        ends = [len(start) + n for n in accumulate(map(len, texts))]
        found = self._tokenizer(
            start + "".join(texts) + EOT, add_special_tokens=False, return_offsets_mapping=True
        )
        ids: list[int] = found["input_ids"]
        starts = [begin for begin, _ in found["offset_mapping"]]
        last = ends[-1] if ends else len(start)
        intact = [UNASKED] * len(ids)
        for place, begin in enumerate(starts):
            if begin >= last:
                intact[place] = int(reply.intact)
            elif begin >= len(start):
                part = next(i for i, end in enumerate(ends) if begin < end)
                intact[place] = int(reply.parts[part][1])
        seen = self._seen(ids, starts, len(start), last)
        return LabelledTokens(ids, intact, seen, self._shared(ids, intact, seen))

    def _rarities(self, texts: list[str]) -> list[float]:
        """log(texts / texts that hold the token) of every token."""
        found: Counter[int] = Counter()
        for ids in self._tokenizer(texts, add_special_tokens=False)["input_ids"]:
            found.update({self._same[token] for token in ids})
        return [log((len(texts) + 1) / (found[same] + 1)) for same in self._same]

    def _shared(
        self, ids: list[int], intact: list[int], seen: list[tuple[int, int]]
    ) -> list[float]:
        """The running share; the end of the turn is asked for that of the whole reply."""
        held, total = 0.0, 1.0
        shared = [float(UNASKED)] * len(ids)
        for place, token in enumerate(ids):
            in_prompt = seen[place][0]
            if in_prompt != UNASKED:
                held += in_prompt * self._rarity[token]
                total += self._rarity[token]
            if intact[place] != UNASKED:
                shared[place] = held / total
        return shared

    def _seen(
        self, ids: list[int], starts: list[int], reply_start: int, reply_end: int
    ) -> list[tuple[int, int]]:
        in_prompt: set[int] = set()
        in_reply: set[int] = set()
        seen = [(UNASKED, UNASKED)] * len(ids)
        for place, (token, begin) in enumerate(zip(ids, starts, strict=True)):
            same = self._same[token]
            if begin < reply_start and token not in self._special:
                in_prompt.add(same)
            elif reply_start <= begin < reply_end:
                seen[place] = int(same in in_prompt), int(same in in_reply)
                in_reply.add(same)
        return seen
