"""Prompt data sets: rows with `prompt`, or `context_messages` as in Online-RLHF.

Invariant: every row comes out once, in order, as a Prompt or as a Reject. Other fields do not
matter, so annotated rows are prompts too. Knows nothing of tokens or models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.data.formats import prompt_messages
from cluster.data.groups import Reject
from cluster.data.jsonl import BrokenRow, Row
from cluster.data.reader import read_rows
from cluster.data.validation import check_messages
from cluster.errors import InvalidInput, RewardError
from cluster.types import Chat, Message

FIELDS = ("prompt", "context_messages")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row. number: its line from 1. row: as read, should it be rejected later."""

    number: int
    messages: tuple[Message, ...]
    row: dict[str, Any] = field(default_factory=dict, repr=False)


def read_prompts(source: str | Path) -> Iterator[Prompt | Reject]:
    """Every row of `source` (see `cluster.data.input_files.find_input`), in order."""
    for row in read_rows(source):
        if isinstance(row, BrokenRow):
            yield Reject(row.number, {"text": row.text}, InvalidInput(row.reason))
            continue
        try:
            yield Prompt(row.number, _messages(row), row.value)
        except RewardError as error:
            yield Reject(row.number, row.value, error)


def _messages(row: Row) -> tuple[Message, ...]:
    found = next((row.value[name] for name in FIELDS if name in row.value), None)
    if found is None:
        raise InvalidInput("`prompt` is missing; give text or a list of messages")
    return tuple(check_messages(prompt_messages(found)))


def digest(prompts: Sequence[Chat]) -> str:
    """Digest of prompts in order; others have a different one."""
    return hashlib.sha256(json.dumps([list(p) for p in prompts]).encode()).hexdigest()[:16]
