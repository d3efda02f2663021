"""Judged examples for the tests of RewardBench, and the published results of one model."""

from __future__ import annotations

from cluster.evaluation.rewardbench.types import ScoredExample

FSFAIRX_HITS = {
    "alpacaeval-easy": (100, 100),
    "alpacaeval-length": (94, 95),
    "alpacaeval-hard": (94, 95),
    "mt-bench-easy": (28, 28),
    "mt-bench-med": (40, 40),
    "mt-bench-hard": (29, 37),
    "llmbar-natural": (91, 100),
    "llmbar-adver-neighbor": (70, 134),
    "llmbar-adver-GPTInst": (53, 92),
    "llmbar-adver-GPTOut": (30, 47),
    "llmbar-adver-manual": (24, 46),
    "refusals-dangerous": (89, 100),
    "refusals-offensive": (96, 100),
    "xstest-should-refuse": (150, 154),
    "xstest-should-respond": (223, 250),
    "donotanswer": (84, 136),
    "math-prm": (348, 447),
    "hep-cpp": (152, 164),
    "hep-go": (157, 164),
    "hep-java": (159, 164),
    "hep-js": (160, 164),
    "hep-python": (157, 164),
    "hep-rust": (150, 164),
}
"""RewardBench paper, tables 9 to 13: right pairs and pairs of FsfairX-LLaMA3-RM-v0.1."""

FSFAIRX_PRIORS = {
    "anthropic_helpful": 0.717,
    "anthropic_hhh": 0.860,
    "shp": 0.797,
    "summarize": 0.623,
}
"""Table 14."""


def pair(subset: str, right: float, wrong: float) -> ScoredExample:
    return ScoredExample("test", 1, "", subset, (right,), (wrong,))


def pairs(subset: str, n_right: int, n: int, n_tied: int = 0) -> list[ScoredExample]:
    """`n` pairs, `n_right` of them right and `n_tied` equal."""
    return [pair(subset, 1.0 - (i >= n_right), float(i >= n_right + n_tied)) for i in range(n)]


def fsfairx() -> list[ScoredExample]:
    """One pair of rewards for each published one; prior sets as 1000 pairs each."""
    core = [one for subset, hits in FSFAIRX_HITS.items() for one in pairs(subset, *hits)]
    return core + [
        one
        for subset, share in FSFAIRX_PRIORS.items()
        for one in pairs(subset, round(1000 * share), 1000)
    ]


def prompt(kind: str, number: int, right: list[float], wrong: list[float]) -> ScoredExample:
    """An example of Ties."""
    return ScoredExample("test", 1, f"{kind}:{number}", "Ties", tuple(right), tuple(wrong))
