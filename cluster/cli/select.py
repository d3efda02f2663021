"""`reward-cluster select`: from annotated rows to chats for supervised fine-tuning."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cluster.cli.io_options import group_arguments, rejects_path
from cluster.data.groups import ResponseGroup, read_groups
from cluster.data.jsonl import atomic_writer, to_json_line
from cluster.data.rejects import Rejects
from cluster.rlhf.annotation.best_of_n import (
    Candidates,
    Picked,
    Selector,
    Threshold,
    TopFraction,
    TopK,
    sft_chat,
    sft_completion,
)


@dataclass(slots=True)
class Tally:
    """Counts and sums of rewards: of all candidates, of each row's first, and of the kept."""

    n_rows: int = 0
    n_empty: int = 0
    n_all: int = 0
    n_kept: int = 0
    all_: float = 0.0
    first: float = 0.0
    kept: float = 0.0

    def candidates(
        self, groups: Iterable[ResponseGroup], allowed: Candidates
    ) -> Iterator[ResponseGroup]:
        """The groups with their candidates only, counted on their way."""
        for group in map(allowed.of, groups):
            self.n_rows += 1
            self.n_all += len(group.responses)
            self.all_ += sum(response.reward for response in group.responses)
            if group.responses:
                self.first += group.responses[0].reward
                yield group
            else:
                self.n_empty += 1

    def keep(self, picked: Picked) -> None:
        """Count a selected response."""
        self.n_kept += 1
        self.kept += picked.response.reward

    def lines(self) -> Iterator[str]:
        """What was kept of how much, and what it did to the mean reward."""
        empty = f", {self.n_empty} rows without any candidate" if self.n_empty else ""
        yield f"kept {self.n_kept} of {self.n_all} responses of {self.n_rows} rows{empty}"
        if self.n_kept:
            first = self.first / (self.n_rows - self.n_empty)
            yield (
                f"mean reward: first of a row {first:.4f}, all {self.all_ / self.n_all:.4f}, "
                f"kept {self.kept / self.n_kept:.4f}"
            )


@click.command()
@group_arguments
@click.option(
    "--top-k", type=click.IntRange(min=1), metavar="K", help="Best K of every prompt. [1]"
)
@click.option(
    "--top-fraction", type=float, metavar="P", help="Best share P of all responses together."
)
@click.option("--threshold", type=float, metavar="R", help="Every response of reward R or more.")
@click.option(
    "--random", type=int, metavar="SEED", help="The control: draw at random instead of the best."
)
@click.option(
    "--first-n", type=click.IntRange(min=1), help="Look at the first N responses of a row only."
)
@click.option(
    "--min-chars", type=click.IntRange(min=0), default=0, help="Discard shorter responses."
)
@click.option(
    "--forbid", multiple=True, metavar="TEXT", help="Discard responses with TEXT in them."
)
@click.option(
    "--form",
    type=click.Choice(("messages", "completion")),
    default="messages",
    show_default=True,
    help="One chat with a loss mask, or TRL's prompt and completion.",
)
def select(
    source: str,
    out: Path,
    rejects: Path | None,
    strict: bool,
    first_n: int | None,
    min_chars: int,
    forbid: tuple[str, ...],
    form: str,
    **rule: Any,
) -> None:
    """Select the best responses of annotated rows as chats to fine-tune on (RAFT, best of n).

    IN has rows {"prompt": ..., "responses": [...], "rewards": [...]}; equal rewards go to the
    first response. A row of OUT:

    \b
      messages    the prompt's messages, then the response as an assistant turn
      loss_mask   one number per message: 1 = train on it and its end-of-turn token, 0 = do not
      reward      the raw reward
      line, index where the response stood in IN

    Exit status: 0 done; 1 done, but some rows of IN are broken; 2 nothing written.
    """
    selector = _selector(**rule)
    allowed = Candidates(first_n, min_chars, forbid)
    to_row = sft_chat if form == "messages" else sft_completion
    tally = Tally()
    with atomic_writer(out) as sink, Rejects(rejects_path(out, rejects), strict) as broken:
        groups = broken.keep_valid(read_groups(source))
        for picked in selector.pick(tally.candidates(groups, allowed)):
            sink.write(to_json_line(to_row(picked)))
            tally.keep(picked)
    for line in (*broken.lines(), *tally.lines()):
        click.echo(line, err=True)
    sys.exit(1 if broken.n else 0)


def _selector(
    top_k: int | None, top_fraction: float | None, threshold: float | None, random: int | None
) -> Selector:
    if sum(rule is not None for rule in (top_k, top_fraction, threshold)) > 1:
        raise click.UsageError("give one of --top-k, --top-fraction and --threshold")
    if threshold is not None:
        if random is not None:
            raise click.UsageError("--threshold has no random control; use --top-fraction")
        return Threshold(threshold)
    if top_fraction is not None:
        return TopFraction(top_fraction, random)
    return TopK(top_k or 1, random)
