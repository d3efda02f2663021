"""Rewards that a test can read: the number at the start of a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.groups import write_lines

from cluster.errors import NotReady, RewardError, TooLong
from cluster.evaluation.contenders import Contender
from cluster.evaluation.row_fields import last_text
from cluster.evaluation.run import ModelResult, evaluate
from cluster.evaluation.suite import Suite
from cluster.types import Conversation, Score


class Numbers:
    """A scorer. sign: of every reward. A response "bad" is too long, "wait" is not ready."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign
        self.calls: list[int] = []

    def __call__(self, conversations: Sequence[Conversation]) -> list[Score | RewardError]:
        self.calls.append(len(conversations))
        return [self.one(i, last_text(c)) for i, c in enumerate(conversations)]

    def one(self, item: int, text: str) -> Score | RewardError:
        if text == "wait":
            return NotReady("no replica", item)
        if text == "bad":
            return TooLong("9 tokens are more than 4", item)
        try:
            reward = self.sign * float(text.split()[0])
        except ValueError:  # the probe that asks who answers
            reward = 0.0
        return Score(reward, 1, 0, "cut" in text, 0.0, 0.0, "fake", "1", "fast")


def contender(name: str, scorer: Numbers) -> Contender:
    return Contender(name, lambda: scorer)


def judged(
    suite: str | Suite, folder: Path, rows: Sequence[Mapping[str, Any] | str], name: str = "a.jsonl"
) -> ModelResult:
    """One model on these rows."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, [row if isinstance(row, str) else dict(row) for row in rows])
    source = folder if "/" in name else path
    [model] = evaluate(suite, str(source), [contender("fake", Numbers())], resamples=10).models
    return model


def shares(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Rounded, so that a test can write them down."""
    return {name: None if v is None else round(v, 6) for name, v in values.items()}
