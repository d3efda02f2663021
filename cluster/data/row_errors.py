"""Row error reports: which line and item failed, and why.

A report is {line, item, code, message}. A user's own column `error` is not a report: it stays, and
the row's report is then called `reward_error`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.errors import RewardError

_KEYS = {"line", "item", "code", "message"}


def with_report(row: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """`row` with its error's report: as `error`, or `reward_error` beside an `error` of its own."""
    sound = without_report(row)
    return sound | {"reward_error" if "error" in sound else "error": dict(report)}


def report_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report that `with_report` put there, None if there is none."""
    found = (row.get(name) for name in ("reward_error", "error"))
    return next((one for one in found if _is_report(one)), None)


def without_report(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without an earlier run's report; a user's own `error` is none."""
    named = ("error", "reward_error")
    return {key: value for key, value in row.items() if key not in named or not _is_report(value)}


def _is_report(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == _KEYS


def make_report(number: int, error: RewardError, field: str | None) -> dict[str, Any]:
    return {"line": number, "item": field, "code": error.code, "message": error.message}


def named(field: str | None, error: RewardError) -> RewardError:
    """`error` naming its field in the message."""
    return type(error)(error.message if field is None else f"{field}: {error.message}")
