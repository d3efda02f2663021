"""DPO pairs: preference pairs from a group of rewarded responses.

Invariant: chosen and rejected are two different responses of the row, and the margin is above 0:
the reward of chosen less that of rejected, after the length penalty where there is one. A row
without such a pair is dropped, with the reason. Of equal rewards the first response counts as the
better one and as the worse one, as argmax and argmin do.

Source: `prepare_data` in RLHFlow/Online-RLHF's dpo_iteration/run_dpo.py. Two differences. There
`max_min_p` picks by the penalised reward and then orders and measures by the raw one, which can
undo the penalty; here the same reward does both. There `max_max` lets the last of equal rewards
win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from cluster.data.groups import Response, ResponseGroup

PairMethod = Literal["max_min", "max_random", "max_uniform", "max_max", "random"]
"""max_min: best and worst.
max_random: best and the first other response; the published name, though nothing is drawn.
max_uniform: best and one drawn uniformly among the others.
max_max: best and second best.
random: the first two, in the order of their rewards: a random pair where the responses are
    independent samples."""

DropReason = Literal["short", "tied", "same text"]
"""short: too few responses.  tied: the pair's rewards are equal, as where all the row's are.
same text: the responses are equal though their rewards are not."""


@dataclass(frozen=True, slots=True)
class PairRule:
    """How a group becomes a pair.

    length_penalty: subtracted from a reward for each character of the response; Online-RLHF's paper
        uses 0.001.  seed: of `max_uniform`; a row's draw depends on it and the line alone.
    min_responses: groups with fewer are dropped as short; a pair needs 2.
    """

    method: PairMethod = "max_min"
    length_penalty: float = 0.0
    seed: int = 0
    min_responses: int = 2


@dataclass(frozen=True, slots=True)
class Preference:
    """Two responses to one prompt. margin: above 0, in units of reward."""

    group: ResponseGroup
    chosen: Response
    rejected: Response
    margin: float


def choose_pair(group: ResponseGroup, rule: PairRule) -> Preference | DropReason:
    """The pair of `group`, or why it has none."""
    if len(group.responses) < max(2, rule.min_responses):
        return "short"
    values = [r.reward - rule.length_penalty * r.n_chars for r in group.responses]
    better, worse = _PICK[rule.method](values, Random(f"{rule.seed} {group.number}"))
    if values[better] < values[worse]:
        better, worse = worse, better
    chosen, rejected = group.responses[better], group.responses[worse]
    margin = values[better] - values[worse]
    if margin == 0:
        return "tied"
    if chosen.messages == rejected.messages:
        return "same text"
    return Preference(group, chosen, rejected, margin)


def dpo_row(pair: Preference) -> dict[str, Any]:
    """The columns of TRL's DPOTrainer as messages, and the margin, which its loss does not use."""
    return {
        "prompt": list(pair.group.prompt),
        "chosen": list(pair.chosen.messages),
        "rejected": list(pair.rejected.messages),
        "margin": pair.margin,
    }


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _argmin(values: Sequence[float]) -> int:
    return min(range(len(values)), key=values.__getitem__)


def _max_min(values: Sequence[float], _: Random) -> tuple[int, int]:
    return _argmax(values), _argmin(values)


def _max_random(values: Sequence[float], _: Random) -> tuple[int, int]:
    best = _argmax(values)
    return best, 1 if best == 0 else 0


def _max_uniform(values: Sequence[float], random: Random) -> tuple[int, int]:
    best = _argmax(values)
    return best, random.choice([i for i in range(len(values)) if i != best])


def _max_max(values: Sequence[float], _: Random) -> tuple[int, int]:
    first, second, *_rest = sorted(range(len(values)), key=lambda i: -values[i])
    return first, second


def _random(_: Sequence[float], __: Random) -> tuple[int, int]:
    return 0, 1


_PICK = {
    "max_min": _max_min,
    "max_random": _max_random,
    "max_uniform": _max_uniform,
    "max_max": _max_max,
    "random": _random,
}
