"""Preference metrics: accuracy and margins of rewards. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cluster.rlhf.training.pairs import Pair


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """A pair's rewards."""

    pair: Pair
    chosen: float
    rejected: float

    @property
    def right(self) -> bool:
        """A tie is wrong."""
        return self.chosen > self.rejected


def accuracy(judged: Sequence[ScoredPairs]) -> float:
    """Share of right pairs."""
    return sum(result.right for result in judged) / len(judged)


def margin(judged: Sequence[ScoredPairs]) -> float:
    """Mean of chosen - rejected."""
    return sum(result.chosen - result.rejected for result in judged) / len(judged)


def accuracy_by_kind(judged: Iterable[ScoredPairs]) -> dict[str, float]:
    """Share of right pairs per kind, in order of appearance."""
    return _shares((result.pair.kind, result.right) for result in judged)


def best_on_top(judged: Sequence[ScoredPairs]) -> dict[str, float]:
    """Share of prompts per kind whose best response scores above all others, so that best-of-n
    finds it."""
    rejected = {result.pair.rejected.input_ids.tobytes() for result in judged}
    wins: dict[tuple[str, bytes], bool] = {}
    for result in judged:
        best = result.pair.chosen.input_ids.tobytes()
        if best not in rejected:
            key = result.pair.kind, best
            wins[key] = wins.get(key, True) and result.right
    return _shares((kind, won) for (kind, _), won in wins.items())


def accuracy_table(judged: Sequence[ScoredPairs]) -> Iterator[str]:
    """Lines of a table: accuracy and best on top by kind, then overall."""
    yield f"{'held out':<16} pairs right  best on top"
    tops = best_on_top(judged)
    for kind, share in accuracy_by_kind(judged).items():
        yield f"{kind:<16} {share:>11.3f} {tops[kind]:>12.3f}"
    yield f"{'overall':<16} {accuracy(judged):>11.3f}  ({len(judged)} pairs)"


def _shares(outcomes: Iterable[tuple[str, bool]]) -> dict[str, float]:
    found: dict[str, list[bool]] = {}
    for kind, outcome in outcomes:
        found.setdefault(kind, []).append(outcome)
    return {kind: sum(values) / len(values) for kind, values in found.items()}
