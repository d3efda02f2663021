"""The suites by name, and which of them a row belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from cluster.data.jsonl import Row
from cluster.errors import ConfigError, InvalidInput
from cluster.evaluation.suite import Suite
from cluster.evaluation.suites.judgebench import JudgeBench
from cluster.evaluation.suites.llmbar import LLMBar
from cluster.evaluation.suites.pairs import Pairs
from cluster.evaluation.suites.ppe_correctness import PPECorrectness
from cluster.evaluation.suites.ppe_preference import PPEPreference
from cluster.evaluation.suites.rewardbench import RewardBench, TieRule
from cluster.evaluation.suites.rewardbench2 import RewardBench2
from cluster.evaluation.suites.rm_bench import RMBench
from cluster.evaluation.suites.rmb import RMB
from cluster.evaluation.types import SourcedRow

SUITES: dict[str, Callable[[], Suite]] = {
    "rewardbench": RewardBench,
    "rewardbench2": RewardBench2,
    "rm-bench": RMBench,
    "judgebench": JudgeBench,
    "ppe-preference": PPEPreference,
    "ppe-correctness": PPECorrectness,
    "rmb": RMB,
    "llmbar": LLMBar,
    "pairs": Pairs,
}
"""`recognise` asks them in this order; only `pairs`, the last, takes another one's rows."""

AUTO = "auto"
_LOOKED_AT = 100
"""Rows of which the first that can be read names the suite."""


def make_suite(name: str) -> Suite:
    """The suite of that name. Raises ConfigError."""
    if name not in SUITES:
        raise ConfigError(f"there is no suite {name!r}; give {AUTO} or one of {', '.join(SUITES)}")
    return SUITES[name]()


def with_options(
    name: str,
    *,
    by: str | None = None,
    tie_rule: TieRule | None = None,
    prior: Sequence[str] = (),
) -> str | Suite:
    """The suite with its options, or its name where it has none.

    Raises ConfigError where an option is given that is another suite's.
    """
    if by is not None:
        _of_suite("pairs", name, "--by")
        return Pairs(by)
    if tie_rule is not None or prior:
        _of_suite("rewardbench", name, "--prior" if tie_rule is None else "--tie-rule")
        return RewardBench(tie_rule or "ai2", prior)
    return name


def _of_suite(owner: str, name: str, option: str) -> None:
    if name != owner:
        raise ConfigError(f"{option} applies only to suite {owner}, not {name}")


def recognise(rows: Iterable[SourcedRow]) -> Suite:
    """The suite whose columns the first sound row has. Raises InvalidInput where none fits."""
    for sourced in islice(rows, _LOOKED_AT):
        if not isinstance(sourced.row, Row):
            continue
        found = suite_of(sourced.row)
        if found is not None:
            return found
        columns = ", ".join(sourced.row.value) or "none"
        raise InvalidInput(
            f"{sourced.source}: no suite has these columns ({columns}); give the suite by name, or "
            "make them prompt, chosen and rejected"
        )
    raise InvalidInput(f"none of the first {_LOOKED_AT} rows can be read, so none is recognised")


def suite_of(row: Row) -> Suite | None:
    """The first suite that has this row's columns."""
    return next(
        (suite for make in SUITES.values() if (suite := make()).recognises(row.value)), None
    )
