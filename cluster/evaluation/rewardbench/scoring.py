"""Rows -> examples -> rewards.

Invariant: every row comes out once, in order, as a Judged or as a Reject; a response that cannot
be scored rejects its row and is never a wrong answer. What may pass (a service that is not ready)
ends the run instead: it is no property of a row. Knows nothing of models: the scorer is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal

from cluster.data.formats import RowQuery, Scorer, ask_of
from cluster.data.groups import Reject
from cluster.data.jsonl import BrokenRow
from cluster.errors import InvalidInput, RewardError
from cluster.evaluation.rewardbench.constants import TIES
from cluster.evaluation.rewardbench.dataset import Sourced
from cluster.evaluation.rewardbench.types import Example, ScoredExample
from cluster.evaluation.rewardbench.v2 import ties_key
from cluster.types import Score

Version = Literal[1, 2]


def examples(rows: Iterable[Sourced], version: Version) -> Iterator[Example | Reject]:
    """Every row as an example, or why it is none."""
    for sourced in rows:
        row = sourced.row
        if isinstance(row, BrokenRow):
            yield _reject(sourced.source, row.number, {"text": row.text}, InvalidInput(row.reason))
            continue
        try:
            yield _example(sourced, row.value, version)
        except RewardError as error:
            yield _reject(sourced.source, row.number, row.value, error)


def judge(
    stream: Iterable[Example | Reject], score: Scorer, window: int = 1024
) -> Iterator[ScoredExample | Reject]:
    """Every example with its rewards; `score` gets about `window` conversations at a time."""
    waiting: list[Example | Reject] = []
    size = 0
    for one in stream:
        waiting.append(one)
        size += len(one.ask.conversations) if isinstance(one, Example) else 0
        if size >= window or len(waiting) >= window:
            yield from _judge_window(waiting, score)
            waiting, size = [], 0
    yield from _judge_window(waiting, score)


def _judge_window(
    waiting: list[Example | Reject], score: Scorer
) -> Iterator[ScoredExample | Reject]:
    asks = [one.ask.conversations for one in waiting if isinstance(one, Example)]
    conversations = list(chain.from_iterable(asks))
    results = iter(score(conversations) if conversations else ())
    for one in waiting:
        if isinstance(one, Reject):
            yield one
        else:
            yield _judged(one, [next(results) for _ in one.ask.conversations])


def _judged(example: Example, results: list[Score | RewardError]) -> ScoredExample | Reject:
    scores: list[Score] = []
    for field, result in zip(example.ask.fields, results, strict=True):
        if isinstance(result, Score):
            scores.append(result)
            continue
        if result.retryable:
            raise result
        named = type(result)(f"{field}: {result.message}")
        return _reject(example.source, example.number, example.row, named)
    rewards = tuple(score.reward for score in scores)
    return ScoredExample(
        example.source,
        example.number,
        example.id,
        example.subset,
        rewards[: example.n_right],
        rewards[example.n_right :],
        any(score.truncated for score in scores),
    )


def _example(sourced: Sourced, value: dict[str, Any], version: Version) -> Example:
    subset = value.get("subset") or (sourced.llmbar if "output_1" in value else None)
    if not isinstance(subset, str) or not subset:
        raise InvalidInput("`subset`, the name of the example's subset, is missing")
    id_ = str(value.get("id", ""))
    ask, n_right = _pair(value) if version == 1 else _best_of(value)
    if version == 2 and subset == TIES:
        ties_key(id_)
    return Example(sourced.source, sourced.row.number, id_, subset, ask, n_right, value)


def _pair(value: Mapping[str, Any]) -> tuple[RowQuery, int]:
    if isinstance(value.get("chosen"), list) and all(isinstance(c, str) for c in value["chosen"]):
        raise InvalidInput("`chosen` is a list of responses, as in RewardBench 2; give --version 2")
    ask = ask_of(value)
    if len(ask.conversations) != 2 or ask.keys == ("rewards",):
        raise InvalidInput("an example of RewardBench 1 has `prompt`, `chosen` and `rejected`")
    return ask, 1


def _best_of(value: Mapping[str, Any]) -> tuple[RowQuery, int]:
    """prompt, chosen and rejected, lists both; num_correct and total_completions must agree."""
    sides = {name: _responses(value, name) for name in ("chosen", "rejected")}
    n_right, n = len(sides["chosen"]), sum(map(len, sides.values()))
    for name, counted in (("num_correct", n_right), ("total_completions", n)):
        if value.get(name) not in (None, counted):
            raise InvalidInput(f"`{name}` is {value[name]!r:.40}, but there are {counted}")
    if "prompt" not in value:
        raise InvalidInput("`prompt` is missing; give prompt, chosen and rejected")
    ask = ask_of({"prompt": value["prompt"], "responses": [*sides["chosen"], *sides["rejected"]]})
    fields = tuple(f"{name}[{i}]" for name, side in sides.items() for i in range(len(side)))
    return RowQuery(fields, ask.conversations, ask.keys), n_right


def _responses(value: Mapping[str, Any], name: str) -> list[Any]:
    responses = value.get(name)
    if isinstance(responses, str):
        raise InvalidInput(f"`{name}` is one response, as in RewardBench 1; give --version 1")
    if not isinstance(responses, list) or not responses:
        raise InvalidInput(f"`{name}` must be a list of at least one response")
    return responses


def _reject(source: str, number: int, row: Mapping[str, Any], error: RewardError) -> Reject:
    """The error names its source, because a run may read several."""
    named = type(error)(f"{source}: {error.message}", error.item)
    return Reject(number, dict(row), named)
