"""`reward-cluster raft`: the RAFT loop from a configuration, resumable, with its random control."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.cli.loops import loop_options, run_seeds


@click.command()
@loop_options
def raft(
    config: Path | None,
    out: Path | None,
    stages: int | None,
    seeds: tuple[int, ...],
    strict: bool,
    app: str | None,
) -> None:
    """Sample from a policy, keep the best of n by reward, fine-tune on it, repeat (RAFT).

    CONFIG is YAML. Without a config, trains a tiny policy on generated prompts. A stage is a folder
    that appears whole: a killed run resumes when the command is given again, and ends with the same
    policy. raft.png shows the rewards beside those of a control that draws at random. With several
    seeds, each is a run in a folder of its own, and raft.png shows all.

    Exit status: 0 done; 1 done, but some rows of prompts are broken; 2 wrong usage or config.
    """
    from cluster.rlhf.raft.config import RaftRun
    from cluster.rlhf.raft.run import train_raft

    run_seeds(RaftRun, "raft", train_raft, config, out, stages, seeds, strict, app)
