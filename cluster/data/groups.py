"""Annotated rows: a prompt, its responses, and the reward of each.

The row is {"prompt": messages or text, "responses": [text or messages, ...], "rewards": [...]},
as `annotate` and `score` write it (RLHFlow's data_with_rewards). Any number of responses, each
row its own. A response whose reward is null could not be scored and is not a candidate. A row that
is not such a group is a value (`Reject`), never an exception and never a reward of 0. Knows nothing
of what is done with the rewards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.data.formats import prompt_messages
from cluster.data.jsonl import BrokenRow, Row
from cluster.data.reader import read_rows
from cluster.data.row_errors import report_of, with_report
from cluster.data.validation import check_messages, check_text
from cluster.errors import InvalidInput, RewardError
from cluster.types import Message


@dataclass(frozen=True, slots=True)
class Response:
    """One candidate. index: its place in the row, from 0. messages: what follows the prompt."""

    index: int
    messages: tuple[Message, ...]
    reward: float

    @property
    def n_chars(self) -> int:
        """Characters of its contents, the length that length penalties count."""
        return sum(len(message["content"]) for message in self.messages)


@dataclass(frozen=True, slots=True)
class ResponseGroup:
    """One row. number: its line from 1. responses: those with a reward, in order, at least one."""

    number: int
    prompt: tuple[Message, ...]
    responses: tuple[Response, ...]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not a group. row: its fields, or its text if it was not a JSON object."""

    number: int
    row: dict[str, Any]
    error: RewardError

    def as_row(self) -> dict[str, Any]:
        """The row with its `error`, in the form that `score` writes."""
        item = None if self.error.item is None else f"responses[{self.error.item}]"
        report = {
            "line": self.number,
            "item": item,
            "code": self.error.code,
            "message": self.error.message,
        }
        return with_report(self.row, report)


def read_groups(source: str | Path) -> Iterator[ResponseGroup | Reject]:
    """Every row of `source` (see `cluster.data.input_files.find_input`), in order."""
    for row in read_rows(source):
        if isinstance(row, BrokenRow):
            yield Reject(row.number, {"text": row.text}, InvalidInput(row.reason))
            continue
        try:
            yield group_of(row)
        except RewardError as error:
            yield Reject(row.number, row.value, error)


def group_of(row: Row) -> ResponseGroup:
    """`row` as a group. Raises InvalidInput, its `item` the response that is wrong."""
    prompt = check_messages(prompt_messages(_field(row, "prompt")))
    replies, rewards = _list(row, "responses"), _list(row, "rewards")
    if len(replies) != len(rewards):
        raise InvalidInput(
            f"{len(replies)} responses but {len(rewards)} rewards; annotate the row again"
        )
    scored = [i for i, reward in enumerate(rewards) if reward is not None]
    if not scored:
        raise InvalidInput("none of the responses has a reward; annotate the row again")
    return ResponseGroup(
        row.number,
        tuple(prompt),
        tuple(Response(i, _reply(prompt, replies[i], i), _reward(rewards[i], i)) for i in scored),
    )


def _field(row: Row, name: str) -> Any:
    if name in row.value:
        return row.value[name]
    failed = report_of(row.value)
    why = f"; its annotation failed: {failed['message']}" if name == "rewards" and failed else ""
    raise InvalidInput(f"`{name}` is missing{why}; give prompt, responses and rewards")


def _list(row: Row, name: str) -> list[Any]:
    value = _field(row, name)
    if not isinstance(value, list) or not value:
        raise InvalidInput(f"`{name}` must be a list with at least one entry")
    return value


def _reply(prompt: Sequence[Message], reply: Any, index: int) -> tuple[Message, ...]:
    """What follows the prompt; a list of messages may repeat the prompt first."""
    try:
        if isinstance(reply, str):
            return (Message(role="assistant", content=check_text(reply, "the response")),)
        if not isinstance(reply, list):
            raise InvalidInput(
                f"the response must be a string or a list of messages, not {type(reply).__name__}"
            )
        messages = check_messages(reply)
    except InvalidInput as error:
        raise error.at(index) from None
    if messages[: len(prompt)] == list(prompt):
        messages = messages[len(prompt) :]
    if not messages:
        raise InvalidInput("the response is the prompt and nothing more", index)
    return tuple(messages)


def _reward(value: Any, index: int) -> float:
    try:
        reward = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, OverflowError):
        reward = math.nan
    if not math.isfinite(reward):
        raise InvalidInput(f"the reward must be a finite number, not {value!r:.40}", index)
    return reward
