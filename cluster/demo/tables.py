"""Demo results: a table of rewards, and a line each on what was scored and a person's choices."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.table import Table

from cluster.demo.chats import DemoGroup
from cluster.errors import RewardError
from cluster.types import Score

Item = Score | RewardError


def reward_table(groups: Sequence[DemoGroup], results: Sequence[Sequence[Item]]) -> Table:
    """One row per response; the model's and the person's choice for each prompt are marked."""
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
    """Index of the highest reward, None if nothing has one."""
    rewards = {i: item.reward for i, item in enumerate(items) if isinstance(item, Score)}
    return max(rewards, key=rewards.__getitem__, default=None)


def agreement(groups: Sequence[DemoGroup], results: Sequence[Sequence[Item]]) -> str:
    """For how many prompts the model makes the person's choice, of those that have one."""
    both = zip(groups, results, strict=True)
    same = [best_of(items) == group.person for group, items in both if group.person is not None]
    return f"{sum(same)} of {len(same)} as a person would choose."


def summary(results: Sequence[Sequence[Item]], seconds: float) -> str:
    """One line on what was scored and how fast."""
    scores = [item for items in results for item in items if isinstance(item, Score)]
    n_tokens = sum(score.n_tokens for score in scores)
    model = f" by {scores[0].model} at {scores[0].revision}, {scores[0].numerics}" if scores else ""
    return (
        f"{len(scores)} of {sum(map(len, results))} responses scored{model}: {n_tokens} tokens in "
        f"{seconds:.2f} s through client.score.remote(...) futures."
    )


def _short(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder=" ...")
