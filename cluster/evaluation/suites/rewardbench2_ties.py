"""The Ties subset of RewardBench 2: pairs of prompts scored as a whole.

Source: allenai/reward-bench, rewardbench/utils.py (process_single_model).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.errors import InvalidInput
from cluster.evaluation.types import Judged

TIES = "Ties"
ACCURACY, MARGIN, TIE_BREAK = 0.30, 0.20, 0.01
"""Weights in the score: of each accuracy, of each margin, and to part equals."""


@dataclass(frozen=True, slots=True)
class TiesScore:
    """The parts of the Ties score, each a mean over prompts.

    accuracy_ref, accuracy_tied: every right response above every wrong one.
    margin: the tied prompt's gap (worst right less best wrong) above its spread (best right less
        worst right).  margin_hard: the smaller of the tied and the ref prompt's gap above it.
    tie_break: tanh(smaller gap / spread - 1), 0 if both are 0.
    """

    accuracy_ref: float
    accuracy_tied: float
    margin: float
    margin_hard: float
    tie_break: float

    @property
    def score(self) -> float:
        """60% accuracy, 40% margins, and up to 0.01 to part equals."""
        accuracy = ACCURACY * (self.accuracy_tied + self.accuracy_ref)
        margins = MARGIN * (self.margin + self.margin_hard)
        return accuracy + margins + TIE_BREAK * self.tie_break


@dataclass(frozen=True, slots=True)
class _Prompt:
    """Rewards of one prompt; rows of one id are one prompt."""

    right: tuple[float, ...]
    wrong: tuple[float, ...]

    @property
    def gap(self) -> float:
        return min(self.right) - max(self.wrong)

    @property
    def spread(self) -> float:
        return max(self.right) - min(self.right)


def ties_key(id: str) -> tuple[str, int]:
    """("ref" | "tied", N) of a Ties id. Raises InvalidInput."""
    kind, _, number = id.partition(":")
    if kind not in ("ref", "tied") or not number.isdecimal():
        raise InvalidInput(f"the id of an example of Ties is `ref:N` or `tied:N`, not {id!r:.40}")
    return kind, int(number)


def ties_score(judged: Iterable[Judged]) -> TiesScore | None:
    """The parts of the Ties score, None if no N has both its prompts."""
    ref, tied = _prompts(judged)
    both = {n: _pair(ref[n], tied[n]) for n in sorted(ref.keys() & tied.keys())}
    if not both:
        return None
    margin, hard, tie_break = (
        sum(values) / len(both) for values in zip(*both.values(), strict=True)
    )
    return TiesScore(_accuracy(ref), _accuracy(tied), margin, hard, tie_break)


def ties_units(judged: Iterable[Judged]) -> dict[str, float]:
    """Worths by N whose plain mean is the score; {} where no N has both its prompts.

    Where every N has both, the worth is the score's formula for that N alone.
    """
    ref, tied = _prompts(judged)
    both = ref.keys() & tied.keys()
    if not both:
        return {}
    numbers = sorted(ref.keys() | tied.keys())
    units = dict.fromkeys(numbers, 0.0)
    for kind in (ref, tied):
        for n, prompt in kind.items():
            units[n] += ACCURACY * (prompt.gap > 0) * len(numbers) / len(kind)
    for n in both:
        margin, hard, tie_break = _pair(ref[n], tied[n])
        worth = MARGIN * (margin + hard) + TIE_BREAK * tie_break
        units[n] += worth * len(numbers) / len(both)
    return {f"{TIES}:{n}": worth for n, worth in units.items()}


def _prompts(judged: Iterable[Judged]) -> tuple[dict[int, _Prompt], dict[int, _Prompt]]:
    """By N: the `ref` prompts and the `tied` ones."""
    found: dict[str, dict[int, _Prompt]] = {"ref": {}, "tied": {}}
    for one in judged:
        kind, n = ties_key(one.item.id)
        before = found[kind].get(n, _Prompt((), ()))
        sides = list(zip(one.item.truth, one.rewards, strict=True))
        found[kind][n] = _Prompt(
            before.right + tuple(reward for truth, reward in sides if truth),
            before.wrong + tuple(reward for truth, reward in sides if not truth),
        )
    return found["ref"], found["tied"]


def _pair(ref: _Prompt, tied: _Prompt) -> tuple[float, float, float]:
    """Of one N: margin, margin_hard and tie_break."""
    smaller = min(ref.gap, tied.gap)
    return (
        float(tied.gap > tied.spread),
        float(smaller > tied.spread),
        _tie_break(smaller, tied.spread),
    )


def _accuracy(prompts: Mapping[int, _Prompt]) -> float:
    return sum(prompt.gap > 0 for prompt in prompts.values()) / len(prompts)


def _tie_break(gap: float, spread: float) -> float:
    if spread == 0:
        return 0.0 if gap == 0 else math.copysign(1.0, gap)
    return math.tanh(gap / spread - 1)
