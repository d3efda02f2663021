"""`reward-cluster raft`: the RAFT loop from a configuration, resumable, with its random control."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.cli.scoring_backend import refuse_beside_app, scorer
from cluster.cli.yaml_config import read_settings
from cluster.data.rejects import Rejects

if TYPE_CHECKING:
    from cluster.rlhf.raft.run import RaftRun
    from cluster.rlhf.raft.stages import RaftStage


@click.command()
@click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder instead of `out`."
)
@click.option("--stages", type=click.IntRange(min=1), help="Stages instead of `raft.stages`.")
@click.option("--strict", is_flag=True, help="The first broken row of prompts ends the run.")
@click.option("--app", help="Score by this running Serve application instead of an own engine.")
def raft(
    config: Path | None, out: Path | None, stages: int | None, strict: bool, app: str | None
) -> None:
    """Sample from a policy, keep the best of n by reward, fine-tune on it, repeat (RAFT).

    CONFIG is YAML; without it, a tiny policy on generated prompts. A stage is a folder that
    appears whole: a killed run resumes when the command is given again, and ends with the same
    policy. raft.png shows the rewards beside those of a control that draws at random.

    Exit status: 0 done; 1 done, but some rows of prompts are broken; 2 wrong usage or config.
    """
    given = read_settings(config)
    if "reward" in given:
        refuse_beside_app(app, ["reward (of the config)"])
    settings = _settings(given, out, stages)
    from cluster.rlhf.raft.run import train_raft

    broken = Rejects(_made(Path(settings.out)) / "rejects.jsonl", strict)
    train_raft(settings, scorer(settings.reward, app), _show, broken)
    for line in broken.lines():
        click.echo(line, err=True)
    click.echo(f"the policy is {settings.out}/raft/stage-{settings.raft.stages:03}", err=True)
    sys.exit(1 if broken.n else 0)


def _settings(given: dict[str, Any], out: Path | None, stages: int | None) -> RaftRun:
    """The file's values, options of the command line first. Raises ConfigError."""
    from cluster.config import parse_config
    from cluster.rlhf.raft.run import RaftRun

    if out is not None:
        given = given | {"out": str(out)}
    if stages is not None:
        given = given | {"raft": dict(given.get("raft") or {}) | {"stages": stages}}
    return parse_config(RaftRun, given)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _show(loop: str, stage: RaftStage) -> None:
    drawn = ""
    if stage.kept is not None:
        drawn = (
            f"  drew: first {stage.first:.3f}, all {stage.mean:.3f}, kept {stage.kept:.3f} "
            f"({stage.n_kept}; {stage.n_unfinished} cut off, {stage.n_failed} not scored)"
        )
    click.echo(f"{loop:<7} stage {stage.stage}  evaluation {stage.evaluation:.3f}{drawn}")
