"""Demo: a file of chats scored through the actor client on a local cluster, shown as a table.

Real processes and real messages between them; only the size is small.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from cluster.config import ClusterConfig, EngineConfig
from cluster.data.formats import prompt_messages
from cluster.data.jsonl import BrokenRow
from cluster.data.reader import read_rows
from cluster.errors import InvalidInput, RewardError
from cluster.serving.deployment.local_cluster import local_service
from cluster.types import Chat, Score

Item = Score | RewardError


@dataclass(frozen=True, slots=True)
class DemoGroup:
    """One prompt and the responses to choose from."""

    prompt: Chat
    responses: Sequence[str]

    @property
    def conversations(self) -> list[tuple[Chat, str]]:
        """What the client scores."""
        return [(self.prompt, response) for response in self.responses]


def run_demo(source: Path | None, engine: EngineConfig, console: Console) -> bool:
    """Score every group of `source` (None: the packaged file) and print what came back.

    Returns whether every response has a reward.
    """
    groups = list(read_demo_groups(source or Path(str(files("cluster") / "assets" / "demo.jsonl"))))
    console.print("Starting a local Ray with one replica, the batcher and a client actor ...")
    started = time.perf_counter()
    with local_service(ClusterConfig(engine=engine)) as client:
        remote: Any = client
        ray.get(remote.ready.remote())
        console.print(f"Ready after {time.perf_counter() - started:.1f} s.\n")
        sent = time.perf_counter()
        futures = [remote.score.remote(group.conversations) for group in groups]
        results: list[list[Item]] = ray.get(futures)
        seconds = time.perf_counter() - sent
    console.print(reward_table(groups, results))
    console.print(summary(results, seconds))
    return all(isinstance(item, Score) for items in results for item in items)


def read_demo_groups(source: Path) -> Iterator[DemoGroup]:
    """Rows of `prompt` (messages or a string) and `responses` (strings).

    Raises InvalidInput naming the line.
    """
    for row in read_rows(source):
        value = {} if isinstance(row, BrokenRow) else row.value
        prompt, responses = value.get("prompt"), value.get("responses")
        if not prompt or not responses:
            raise InvalidInput(f"{source}, line {row.number}: give `prompt` and `responses`")
        yield DemoGroup(prompt_messages(prompt), responses)


def reward_table(groups: Sequence[DemoGroup], results: Sequence[Sequence[Item]]) -> Table:
    """A row for each response; the best of each prompt is marked."""
    table = Table(title="Rewards", show_lines=False)
    table.add_column("prompt", ratio=1)
    table.add_column("response", ratio=2)
    table.add_column("reward", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("best", no_wrap=True)
    for group, items in zip(groups, results, strict=True):
        best = best_of(items)
        for i, (response, item) in enumerate(zip(group.responses, items, strict=True)):
            table.add_row(
                _short(str(group.prompt[-1]["content"]), 45) if i == 0 else "",
                _short(response, 75),
                f"{item.reward:+.3f}" if isinstance(item, Score) else item.code,
                str(item.n_tokens) if isinstance(item, Score) else "",
                "best" if i == best else "",
                end_section=i == len(items) - 1,
            )
    return table


def best_of(items: Sequence[Item]) -> int | None:
    """Index of the highest reward, None where nothing has one."""
    rewards = {i: item.reward for i, item in enumerate(items) if isinstance(item, Score)}
    return max(rewards, key=rewards.__getitem__, default=None)


def summary(results: Sequence[Sequence[Item]], seconds: float) -> str:
    """One line on what ran and how fast."""
    scores = [item for items in results for item in items if isinstance(item, Score)]
    n_tokens = sum(score.n_tokens for score in scores)
    model = f" by {scores[0].model} at {scores[0].revision}, {scores[0].numerics}" if scores else ""
    return (
        f"{len(scores)} of {sum(map(len, results))} responses scored{model}: {n_tokens} tokens in "
        f"{seconds:.2f} s through client.score.remote(...) futures."
    )


def _short(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder=" ...")
