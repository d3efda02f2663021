"""Groups and annotated rows for tests: rewards as given, one distinct text a response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from cluster.data.groups import ResponseGroup, group_of
from cluster.data.jsonl import Row


def annotated(
    rewards: Sequence[float], responses: Sequence[Any] | None = None, prompt: Any = "Hi"
) -> dict[str, Any]:
    """A row as `annotate` writes it."""
    texts = [f"answer {i}" for i in range(len(rewards))] if responses is None else responses
    return {"prompt": prompt, "responses": list(texts), "rewards": list(rewards)}


def group(
    rewards: Sequence[float], responses: Sequence[Any] | None = None, number: int = 1
) -> ResponseGroup:
    return group_of(Row(number, annotated(rewards, responses)))


def write_lines(path: Path, rows: Sequence[dict[str, Any] | str]) -> Path:
    """A .jsonl file; a string is a line as it stands."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


rewards_lists = st.lists(st.sampled_from([-1.5, 0.0, 0.25, 0.5, 2.0]), min_size=1, max_size=6)
"""Few values, so that ties are common."""

groups_lists = st.lists(rewards_lists, max_size=6).map(
    lambda lists: [group(rewards, number=i) for i, rewards in enumerate(lists, 1)]
)
