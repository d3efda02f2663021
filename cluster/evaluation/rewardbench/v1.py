"""RewardBench 1: pairs, subsets, sections and the score.

Invariant: a subset's score is the mean credit of its examples; a section's is the mean of its
subsets by `WEIGHTS`; the score is the mean of the sections and, with half a weight, of the prior
sets. What is missing is left out of a mean, never counted as 0.

Sources: allenai/reward-bench, scripts/run_rm.py (a tie is wrong) and the leaderboard's averages;
RLHFlow/RLHF-Reward-Modeling, useful_code/eval_reward_bench_bt.py (a tie is half right).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

from cluster.evaluation.rewardbench.constants import (
    PRIOR_SECTION,
    PRIOR_SETS,
    SECTION_OF,
    SECTION_WEIGHTS,
    SECTIONS,
    SIZES,
    SWAPPED_WEIGHTS,
    WEIGHTS,
)
from cluster.evaluation.rewardbench.types import BenchmarkReport, Line, ScoredExample, mean, tied

TieRule = Literal["ai2", "rlhflow"]
"""What equal rewards are worth: nothing, or half."""


def credit(judged: ScoredExample, rule: TieRule = "ai2") -> float:
    """1 if the right response has the higher reward, 0 if the wrong one has."""
    if tied(judged):
        return 0.5 if rule == "rlhflow" else 0.0
    return float(max(judged.right) > max(judged.wrong))


def report(judged: Iterable[ScoredExample], rule: TieRule = "ai2") -> BenchmarkReport:
    """Everything of a run, from its examples."""
    by_subset: defaultdict[str, list[ScoredExample]] = defaultdict(list)
    for one in judged:
        by_subset[one.subset].append(one)
    lines = tuple(_line(name, by_subset[name], rule) for name in _ordered(by_subset))
    scores = {line.subset: line.score for line in lines if line.score is not None}
    sections = section_scores(scores)
    swapped = section_scores(scores, SWAPPED_WEIGHTS)
    return BenchmarkReport(
        version=1,
        tie_rule=rule,
        lines=lines,
        sections=sections,
        score=mean(sections, SECTION_WEIGHTS),
        complete=all(len(by_subset[name]) == size for name, size in SIZES.items()),
        details={
            "swapped_xstest_weights": {
                "Safety": swapped["Safety"],
                "score": mean(swapped, SECTION_WEIGHTS),
            }
        },
    )


def section_scores(
    scores: Mapping[str, float], weights: Mapping[str, float] = WEIGHTS
) -> dict[str, float | None]:
    """Subset scores -> section scores, Prior Sets last; None where no subset of it is there."""
    sections = {
        section: mean({name: scores.get(name) for name in subsets}, weights)
        for section, subsets in SECTIONS.items()
    }
    prior = {name: scores.get(name) for name in PRIOR_SETS}
    return sections | {PRIOR_SECTION: mean(prior, dict.fromkeys(PRIOR_SETS, 1.0))}


def _line(name: str, judged: list[ScoredExample], rule: TieRule) -> Line:
    section = SECTION_OF.get(name, PRIOR_SECTION if name in PRIOR_SETS else None)
    score = sum(credit(one, rule) for one in judged) / len(judged)
    return Line(name, section, len(judged), SIZES.get(name), score, sum(map(tied, judged)))


def _ordered(names: Iterable[str]) -> list[str]:
    """The benchmark's subsets in its order, then the prior sets, then any others."""
    known = [*SIZES, *PRIOR_SETS]
    present = list(names)
    return [n for n in known if n in present] + sorted(n for n in present if n not in known)
