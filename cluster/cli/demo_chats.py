"""Demo: a file of chats scored through the actor client on a local cluster, shown as a table.

Real processes and real messages between them; only the size is small.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
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
from cluster.engine.checkpoint import EMBEDDED
from cluster.errors import InvalidInput, RewardError
from cluster.serving.deployment.foreground import wait_until_signalled
from cluster.serving.deployment.local_cluster import local_service
from cluster.types import Chat, Score

Item = Score | RewardError

PLACEHOLDER = """\
The built-in model shows that every path runs and is no judge: name one to judge by with --model."""
NEXT = """
Next:
  reward-cluster score chats.jsonl --out scored.jsonl   your own chats, from a file
  reward-cluster verify --model HUB_ID                  another model, checked before use"""
NEXT_UNLESS_KEPT = """\
  reward-cluster demo --keep                            this service, left up, with a page to try"""


@dataclass(frozen=True, slots=True)
class DemoGroup:
    """One prompt and the responses to choose from; person: the index that a person prefers."""

    prompt: Chat
    responses: Sequence[str]
    person: int | None = None

    @property
    def conversations(self) -> list[tuple[Chat, str]]:
        """What the client scores."""
        return [(self.prompt, response) for response in self.responses]


def run_demo(
    source: Path | None,
    engine: EngineConfig,
    console: Console,
    http_port: int | None = None,
) -> bool:
    """Score every group of `source` (None: the packaged file) and print what came back.

    http_port: on 127.0.0.1; the service then stays up until SIGINT or SIGTERM. Returns whether
    every response has a reward.
    """
    groups = list(read_demo_groups(source or packaged_chats()))
    console.print("Starting a local Ray with one replica, the batcher and a client actor ...")
    started = time.perf_counter()
    with local_service(ClusterConfig(engine=engine), http_port=http_port) as client:
        remote: Any = client
        ray.get(remote.ready.remote())
        console.print(f"Ready after {time.perf_counter() - started:.1f} s.\n")
        sent = time.perf_counter()
        futures = [remote.score.remote(group.conversations) for group in groups]
        results: list[list[Item]] = ray.get(futures)
        seconds = time.perf_counter() - sent
        console.print(reward_table(groups, results))
        console.print(summary(results, seconds))
        if any(group.person is not None for group in groups):
            console.print(agreement(groups, results))
        if engine.model in EMBEDDED:
            console.print(PLACEHOLDER, highlight=False)
        console.print(NEXT, highlight=False, soft_wrap=True)
        if http_port is None:
            console.print(NEXT_UNLESS_KEPT, highlight=False)
        else:
            console.print(f"\nThe service stays up at http://127.0.0.1:{http_port}/ until Ctrl-C.")
            wait_until_signalled()
    return all(isinstance(item, Score) for items in results for item in items)


def packaged_chats() -> Path:
    """The chats in the package, each marked with what a person prefers."""
    return Path(str(files("cluster") / "assets" / "demo.jsonl"))


def read_demo_groups(source: Path) -> Iterator[DemoGroup]:
    """Rows of `prompt` (messages or a string), `responses` (strings) and perhaps `person`.

    Raises InvalidInput naming the line.
    """
    for row in read_rows(source):
        value = {} if isinstance(row, BrokenRow) else row.value
        prompt, responses = value.get("prompt"), value.get("responses")
        if not prompt or not responses:
            raise InvalidInput(f"{source}, line {row.number}: give `prompt` and `responses`")
        person = _person(value, len(responses), f"{source}, line {row.number}")
        yield DemoGroup(prompt_messages(prompt), responses, person)


def _person(row: Mapping[str, Any], n_responses: int, place: str) -> int | None:
    found = row.get("person")
    if found is None:
        return None
    if type(found) is not int or not 0 <= found < n_responses:
        last = n_responses - 1
        raise InvalidInput(f"{place}: `person` is {found!r}; give a whole number from 0 to {last}")
    return found


def reward_table(groups: Sequence[DemoGroup], results: Sequence[Sequence[Item]]) -> Table:
    """A row for each response; the model's choice of each prompt and the person's are marked."""
    table = Table(title="Rewards", show_lines=False)
    table.add_column("prompt", ratio=2)
    table.add_column("response", ratio=3)
    table.add_column("reward", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    table.add_column("person", no_wrap=True)
    for group, items in zip(groups, results, strict=True):
        best = best_of(items)
        for i, (response, item) in enumerate(zip(group.responses, items, strict=True)):
            table.add_row(
                _short(str(group.prompt[-1]["content"]), 65) if i == 0 else "",
                _short(response, 90) or "(empty)",
                f"{item.reward:+.3f}" if isinstance(item, Score) else item.code,
                str(item.n_tokens) if isinstance(item, Score) else "",
                "best" if i == best else "",
                "best" if i == group.person else "",
                end_section=i == len(items) - 1,
            )
    return table


def best_of(items: Sequence[Item]) -> int | None:
    """Index of the highest reward, None where nothing has one."""
    rewards = {i: item.reward for i, item in enumerate(items) if isinstance(item, Score)}
    return max(rewards, key=rewards.__getitem__, default=None)


def agreement(groups: Sequence[DemoGroup], results: Sequence[Sequence[Item]]) -> str:
    """How many of the prompts with a person's choice got the same one from the model."""
    both = zip(groups, results, strict=True)
    same = [best_of(items) == group.person for group, items in both if group.person is not None]
    return f"{sum(same)} of {len(same)} as a person would choose."


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
