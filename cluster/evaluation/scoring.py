"""Suite scoring: rows -> items -> rewards.

Invariant: every row comes out once, in order, as Judged, LeftOut or Refusal; a response that cannot
be scored refuses its row and is never a wrong answer. A temporary failure (a service that is not
ready) ends the run instead: it is not a row's fault. Knows nothing of models: the scorer is passed
in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cluster.data.call_results import call_groups, raise_retryable
from cluster.data.formats import Scorer
from cluster.data.jsonl import BrokenRow
from cluster.errors import InvalidInput, RewardError
from cluster.evaluation.suite import Suite
from cluster.evaluation.types import Item, Judged, LeftOut, Refusal, SourcedRow, Verdict
from cluster.types import Score

WINDOW = 256
"""Conversations per call of a scorer, and at most so many rows' rewards lost to a kill."""

Asked = Item | LeftOut | Refusal


def items(rows: Iterable[SourcedRow], suite: Suite) -> Iterator[Asked]:
    """Every row as the suite's item, or why it is not one."""
    for sourced in rows:
        row = sourced.row
        try:
            if isinstance(row, BrokenRow):
                raise InvalidInput(row.reason)
            yield suite.item(sourced, row)
        except RewardError as error:
            yield Refusal(sourced.source, row.number, error)


def judge(asked: Iterable[Asked], score: Scorer, window: int = WINDOW) -> Iterator[list[Verdict]]:
    """Every row's verdict, in windows; `score` gets about `window` conversations per call."""
    waiting: list[Asked] = []
    size = 0
    for one in asked:
        waiting.append(one)
        size += len(one.candidates) if isinstance(one, Item) else 0
        if size >= window or len(waiting) >= window:
            yield _judge_window(waiting, score)
            waiting, size = [], 0
    if waiting:
        yield _judge_window(waiting, score)


def _judge_window(waiting: Sequence[Asked], score: Scorer) -> list[Verdict]:
    asked = [
        [candidate.conversation for candidate in one.candidates] if isinstance(one, Item) else []
        for one in waiting
    ]
    answers = call_groups(asked, score)
    return [
        _verdict(one, results) if isinstance(one, Item) else one
        for one, results in zip(waiting, answers, strict=True)
    ]


def _verdict(item: Item, results: Sequence[Score | RewardError]) -> Judged | Refusal:
    raise_retryable(results)
    scores: list[Score] = []
    for candidate, result in zip(item.candidates, results, strict=True):
        if isinstance(result, Score):
            scores.append(result)
            continue
        error = type(result)(f"{candidate.field}: {result.message}")
        return Refusal(item.source, item.number, error)
    return Judged(
        item, tuple(score.reward for score in scores), any(score.truncated for score in scores)
    )
