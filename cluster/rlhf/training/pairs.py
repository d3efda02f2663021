"""Preference pairs: encodings, order, and their cut into forwards.

Invariant: the order depends on the pairs, the seed and the epoch alone, so a resumed run sees what
an uninterrupted one would. Pairs about one prompt stay neighbours, because a prompt shared within a
forward is computed once. Knows nothing of torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, takewhile
from pathlib import Path
from random import Random
from typing import Any

from cluster.data.call_results import call_groups
from cluster.data.formats import ask_of
from cluster.data.groups import Reject
from cluster.data.jsonl import BrokenRow, Row
from cluster.data.reader import read_rows
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import InvalidInput, RewardError
from cluster.types import Conversation, Encoding

ROWS_AT_ONCE = 1024
"""Rows that are encoded together."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference. margin: least difference wanted, in units of reward. kind: for reports.

    prompt: what both sides answer, as text; where it is not known, the ids before the response.
    """

    chosen: Encoding
    rejected: Encoding
    margin: float = 0.0
    kind: str = ""
    prompt: str = ""

    @property
    def prompt_key(self) -> bytes:
        """Equal for pairs about one prompt."""
        return self.prompt.encode("utf-8", "surrogatepass") or self.prompt_ids

    @property
    def prompt_ids(self) -> bytes:
        """The ids that a forward shares between pairs about one prompt."""
        return self.chosen.input_ids[: self.chosen.prompt_len].tobytes()


def read_pairs(source: str | Path, encoder: ChatEncoder) -> list[Pair | Reject]:
    """As `stream_pairs`, all at once."""
    return list(stream_pairs(source, encoder))


def stream_pairs(source: str | Path, encoder: ChatEncoder) -> Iterator[Pair | Reject]:
    """Every row of a source of `chosen` + `rejected` rows, in order, as a pair or as a reject.

    Holds `ROWS_AT_ONCE` rows, however many there are.
    """
    rows = map(_asked, read_rows(source))
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        asked = [row.conversations if isinstance(row, _Asked) else () for row in chunk]
        for row, sides in zip(chunk, call_groups(asked, encoder.encode_all), strict=True):
            yield _pair(row, *sides) if isinstance(row, _Asked) else row


@dataclass(frozen=True, slots=True)
class _Asked:
    """A row whose fields are those of a pair, not encoded yet."""

    number: int
    row: dict[str, Any]
    conversations: Sequence[Conversation]
    margin: float


def _asked(row: Row | BrokenRow) -> _Asked | Reject:
    if isinstance(row, BrokenRow):
        return Reject(row.number, {"text": row.text}, InvalidInput(row.reason))
    try:
        ask = ask_of(row.value)
        if ask.keys != ("chosen_reward", "rejected_reward"):
            raise InvalidInput("training needs `chosen` and `rejected`")
        return _Asked(row.number, row.value, ask.conversations, _margin(row.value))
    except RewardError as error:
        return Reject(row.number, row.value, error)


def _margin(row: Mapping[str, Any]) -> float:
    found = row.get("margin")
    if found is None:
        return 0.0
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise InvalidInput(f"`margin` is {found!r}; give a finite number, or leave it out")
    return float(found)


def _pair(
    asked: _Asked, chosen: Encoding | RewardError, rejected: Encoding | RewardError
) -> Pair | Reject:
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if isinstance(side, RewardError):
            error = type(side)(f"{name}: {side.message}")
            return Reject(asked.number, asked.row, error)
    assert isinstance(chosen, Encoding)
    assert isinstance(rejected, Encoding)
    if chosen.input_ids.tobytes() == rejected.input_ids.tobytes():
        cut = chosen.truncated or rejected.truncated
        when = ", once their starts are cut to fit" if cut else ""
        same = InvalidInput(f"chosen and rejected are the same{when}")
        return Reject(asked.number, asked.row, same)
    kind = str(asked.row.get("subset", ""))
    return Pair(chosen, rejected, asked.margin, kind, _prompt(*asked.conversations))


def _prompt(chosen: Conversation, rejected: Conversation) -> str:
    """What both sides begin with, message by message or word by word, whatever the
    template: so pairs are grouped and set apart by their prompt and not by their ids."""
    both = zip(_turns(chosen), _turns(rejected), strict=False)
    return json.dumps([a for a, _ in takewhile(lambda ab: ab[0] == ab[1], both)])


def _turns(conversation: Any) -> Sequence[Any]:
    """A conversation's parts: its messages, the words of a text, or its ids."""
    if isinstance(conversation, str):
        return conversation.split()
    if isinstance(conversation, tuple) and len(conversation) == 2:
        prompt, response = conversation
        return [*prompt, response]
    return [*conversation]


def steps(
    pairs: Sequence[Pair], pairs_per_step: int, epochs: int, seed: int
) -> Iterator[list[Pair]]:
    """The pairs of each optimizer step; the last step of an epoch may hold fewer.

    Of a `PairStore` no more than a step's pairs are read at once.
    """
    keys = getattr(pairs, "prompt_keys", None) or [pair.prompt_key for pair in pairs]
    by_prompt = [list(group) for _, group in groupby(range(len(pairs)), key=keys.__getitem__)]
    for epoch in range(epochs):
        order = by_prompt.copy()
        Random(f"{seed} {epoch}").shuffle(order)
        flat = [place for group in order for place in group]
        for start in range(0, len(flat), pairs_per_step):
            yield [pairs[place] for place in flat[start : start + pairs_per_step]]


def n_steps(n_pairs: int, pairs_per_step: int, epochs: int) -> int:
    """How many steps `steps` gives."""
    return epochs * -(-n_pairs // pairs_per_step)


def forwards(pairs: Iterable[Pair], budget: int) -> Iterator[list[Pair]]:
    """Cut a step's pairs into runs of at most `budget` tokens, equal sides counted once.

    A pair longer than the budget is a run of its own.
    """
    run: list[Pair] = []
    seen: set[bytes] = set()
    room = budget
    for pair in pairs:
        cost = _cost(pair, seen)
        if run and cost > room:
            yield run
            run, seen, room = [], set(), budget
            cost = _cost(pair, seen)
        run.append(pair)
        seen.update((pair.prompt_ids, _key(pair.chosen), _key(pair.rejected)))
        room -= cost
    if run:
        yield run


def _cost(pair: Pair, seen: set[bytes]) -> int:
    prompt = pair.chosen.prompt_len
    known = prompt if pair.prompt_ids in seen else 0
    cost = prompt - known
    for side in (pair.chosen, pair.rejected):
        if _key(side) not in seen:
            shared = prompt if side.prompt_len == prompt else 0
            cost += side.n_tokens - shared
    return cost


def _key(encoding: Encoding) -> bytes:
    return b"whole" + encoding.input_ids.tobytes()
