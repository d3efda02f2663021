"""Answers of /v1/score as a client reads them: rewards, errors, or nothing of the kind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.errors import MAX_RETRY_AFTER_S, InvalidInput, RewardError, error_of
from cluster.types import Score

PAUSE_S = 1.0
"""Seconds before the next attempt, if the answer names none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. retry_after: the header, if there is one."""

    status: int
    body: bytes
    retry_after: str | None = None


def object_of(answer: Answer) -> dict[str, Any]:
    """The JSON object in an answer; empty if there is none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def report_of(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The report of an error in a call's or an item's object; empty if there is none."""
    report = found.get("error")
    return report if isinstance(report, Mapping) else {}


def results_of(entries: Sequence[Any]) -> list[Score | RewardError]:
    """None at all if they are not those of a reward service."""
    try:
        return [_result(entry) for entry in entries]
    except (TypeError, AttributeError):
        return []


def error_in(report: Mapping[str, Any]) -> RewardError:
    """The error that a report tells of."""
    code, message = report.get("code", InvalidInput.code), report.get("message", "no reason given")
    return error_of(str(code), str(message))


def retry_after_s(answer: Answer) -> float:
    """Seconds that the service asks to wait."""
    try:
        asked = float(answer.retry_after or PAUSE_S)
    except ValueError:
        return PAUSE_S
    return min(max(asked, 0.05), MAX_RETRY_AFTER_S) if math.isfinite(asked) else PAUSE_S


def _result(entry: Mapping[str, Any]) -> Score | RewardError:
    if "reward" not in entry:
        return error_in(report_of(entry))
    names = Score.__dataclass_fields__
    score = Score(**{name: entry[name] for name in names if name in entry})
    if not math.isfinite(score.reward):
        raise TypeError("a reward is a finite number")
    return score
