"""The benchmark's subsets, their sizes, weights and sections. Numbers only.

Source: allenai/reward-bench, rewardbench/constants.py; sizes of the `filtered` split.
"""

from __future__ import annotations

SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 447,
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 164,
        "hep-rust": 164,
    },
}
"""Version 1: section -> subset -> number of examples."""

SIZES = {name: size for subsets in SECTIONS.values() for name, size in subsets.items()}
SECTION_OF = {name: section for section, subsets in SECTIONS.items() for name in subsets}

WEIGHTS = SIZES | {"math-prm": 984}
"""Of a subset in its section: its size, but math counts as much as the six hep subsets."""

SWAPPED_WEIGHTS = WEIGHTS | {"xstest-should-refuse": 250, "xstest-should-respond": 154}
"""As published until September 2024 (and still in RLHFlow's script): the two xstest subsets carry
each other's weight."""

PRIOR_SETS = ("anthropic_helpful", "anthropic_hhh", "shp", "summarize")
"""Their plain mean is the section Prior Sets; other splits of that data are shown, not counted."""

PRIOR_SECTION = "Prior Sets"
DROPPED_PRIOR_SETS = ("pku_safer", "pku_better")
"""Splits of the prior sets' data that are no longer part of the benchmark."""

SECTION_WEIGHTS = dict.fromkeys(SECTIONS, 2.0) | {PRIOR_SECTION: 1.0}
"""Of a section in the final score."""

TIES = "Ties"
SIZES_V2 = {
    "Factuality": 475,
    "Precise IF": 160,
    "Math": 183,
    "Safety": 450,
    "Focus": 495,
    TIES: 102,
}
"""Version 2: subset -> number of examples; the final score is their plain mean."""

LLMBAR = {
    "neighbor": "llmbar-adver-neighbor",
    "gptinst": "llmbar-adver-GPTInst",
    "gptout": "llmbar-adver-GPTOut",
    "manual": "llmbar-adver-manual",
    "natural": "llmbar-natural",
}
"""Part of the path of one of LLMBar's own files -> the subset that it is."""
