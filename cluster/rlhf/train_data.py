"""Preference pairs as encodings, the order they are seen in, and their cut into forwards.

Invariant: the order depends on the pairs, the seed and the epoch alone, so a resumed run sees what
an unbroken one would. Pairs about one prompt stay neighbours, because a prompt shared within a
forward is computed once. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random

from cluster.engine.chat import ChatEncoder
from cluster.errors import InvalidInput, RewardError
from cluster.files import BrokenRow, read_rows
from cluster.rows import ask_of
from cluster.types import Conversation, Encoding


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference. margin: least difference wanted, in units of reward. kind: for reports."""

    chosen: Encoding
    rejected: Encoding
    margin: float = 0.0
    kind: str = ""

    @property
    def prompt_key(self) -> bytes:
        """Equal for pairs about one prompt."""
        return self.chosen.input_ids[: self.chosen.prompt_len].tobytes()


@dataclass(frozen=True, slots=True)
class BadPair:
    """A row that gives no pair. number: its line."""

    number: int
    reason: str


def read_pairs(path: Path, encoder: ChatEncoder) -> tuple[list[Pair], list[BadPair]]:
    """The pairs of a file of `chosen` + `rejected` rows, and the rows that are none."""
    good: list[tuple[int, tuple[Conversation, Conversation], float, str]] = []
    bad: list[BadPair] = []
    for row in read_rows(path):
        if isinstance(row, BrokenRow):
            bad.append(BadPair(row.number, row.reason))
            continue
        try:
            ask = ask_of(row.value)
            if ask.keys != ("chosen_reward", "rejected_reward"):
                raise InvalidInput("training needs `chosen` and `rejected`")
            margin = float(row.value.get("margin") or 0.0)
        except (RewardError, TypeError, ValueError) as error:
            bad.append(BadPair(row.number, str(error)))
            continue
        chosen, rejected = ask.conversations
        kind = str(row.value.get("subset", ""))
        good.append((row.number, (chosen, rejected), margin, kind))
    encoded = iter(encoder.encode_all([side for _, pair, _, _ in good for side in pair]))
    pairs: list[Pair] = []
    for number, _, margin, kind in good:
        sides = next(encoded), next(encoded)
        problem = _problem(*sides)
        if problem:
            bad.append(BadPair(number, problem))
        else:
            pairs.append(Pair(*sides, margin, kind))  # type: ignore[arg-type]
    return pairs, sorted(bad, key=lambda row: row.number)


def steps(
    pairs: Sequence[Pair], pairs_per_step: int, epochs: int, seed: int
) -> Iterator[list[Pair]]:
    """The pairs of each optimizer step; the last step of an epoch may hold fewer."""
    by_prompt = [list(group) for _, group in groupby(pairs, key=lambda pair: pair.prompt_key)]
    for epoch in range(epochs):
        order = by_prompt.copy()
        Random(f"{seed} {epoch}").shuffle(order)
        flat = [pair for group in order for pair in group]
        for start in range(0, len(flat), pairs_per_step):
            yield flat[start : start + pairs_per_step]


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
        seen.update((pair.prompt_key, _key(pair.chosen), _key(pair.rejected)))
        room -= cost
    if run:
        yield run


def _cost(pair: Pair, seen: set[bytes]) -> int:
    prompt = pair.chosen.prompt_len
    known = prompt if pair.prompt_key in seen else 0
    cost = prompt - known
    for side in (pair.chosen, pair.rejected):
        if _key(side) not in seen:
            shared = prompt if side.prompt_len == prompt else 0
            cost += side.n_tokens - shared
    return cost


def _key(encoding: Encoding) -> bytes:
    return b"whole" + encoding.input_ids.tobytes()


def _problem(chosen: Encoding | RewardError, rejected: Encoding | RewardError) -> str:
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if isinstance(side, RewardError):
            return f"{name}: {side.message}"
    assert isinstance(chosen, Encoding)
    assert isinstance(rejected, Encoding)
    same = chosen.input_ids.tobytes() == rejected.input_ids.tobytes()
    return "chosen and rejected are the same" if same else ""
