"""`reward-cluster select`: from annotated rows to chats for supervised fine-tuning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cluster.cli.io_options import file_arguments, rejects_path
from cluster.data.rejects import Rejects
from cluster.rlhf.annotation.best_of_n import (
    Candidates,
    Selector,
    Threshold,
    TopFraction,
    TopK,
    sft_chat,
    sft_completion,
)
from cluster.rlhf.annotation.group_files import best_of_n_file


@click.command()
@file_arguments("broken row", "broken rows")
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

    Exit status: 0 done; 1 done, but some rows of IN are broken; 2 nothing kept, nothing written.
    """
    selector = _selector(**rule)
    allowed = Candidates(first_n, min_chars, forbid)
    to_row = sft_chat if form == "messages" else sft_completion
    broken = Rejects(rejects_path(out, rejects), strict)
    report = best_of_n_file(
        source, out, selector=selector, candidates=allowed, to_row=to_row, rejects=broken
    )
    for line in (*broken.lines(), *report.lines()):
        click.echo(line, err=True)
    sys.exit(1 if report.n_broken else 0)


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
