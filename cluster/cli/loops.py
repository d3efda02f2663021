"""What `raft` and `dpo` share on the command line: options, seeds, and what is printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cluster.cli.config_options import given_settings, setting_options
from cluster.cli.scoring_backend import refuse_beside_service
from cluster.settings.layers import layered
from cluster.settings.parsing import parse_config

if TYPE_CHECKING:
    from cluster.rlhf.iteration.config import LoopRun
    from cluster.rlhf.iteration.launch import LoopReport
    from cluster.rlhf.iteration.stages import Stage

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound="LoopRun")


def loop_options(cls: type[LoopRun], name: str) -> Callable[[F], F]:
    """Add CONFIG, the options and a flag per key; the command takes config, seeds, strict and app,
    and the flags as keywords for `parse_loop`."""
    yaml = click.Path(exists=True, dir_okay=False, path_type=Path)
    decorators: tuple[Callable[[F], F], ...] = (
        click.argument("config", required=False, type=yaml),
        click.option(
            "--seed",
            "seeds",
            type=int,
            multiple=True,
            help=f"Instead of `{name}.seed`; may be repeated.",
        ),
        click.option("--strict", is_flag=True, help="Stop at the first broken row."),
        click.option("--app", help="Score by this running Serve application."),
        setting_options(cls, short={f"{name}.stages": "--stages"}),
    )

    def add(command: F) -> F:
        for decorate in reversed(decorators):
            command = decorate(command)
        return command

    return add


def parse_loop(cls: type[C], config: Path | None, options: Mapping[str, Any], app: str | None) -> C:
    """The file's settings, overridden by the flags. Raises ConfigError, and UsageError for a model
    together with `--app`."""
    given = layered(config, given_settings(options))
    if "reward" in given:
        refuse_beside_service(app, ["reward (of the config)"])
    return parse_config(cls, given)


def show_run(report: LoopReport) -> None:
    """Print the broken rows and where the policy is."""
    for line in report.broken:
        click.echo(line, err=True)
    click.echo(f"the policy is {report.policy}", err=True)


def exit_status(reports: list[LoopReport]) -> None:
    """Exit with 1 if a run had broken rows, else with 0."""
    sys.exit(1 if any(report.n_broken for report in reports) else 0)


def show_stage(loop: str, stage: Stage) -> None:
    """Print a stage's figures on one line."""
    drawn = ""
    if stage.kept is not None:
        worse = "" if stage.rejected is None else f", rejected {stage.rejected:.3f}"
        drawn = (
            f"  drew: first {stage.first:.3f}, all {stage.mean:.3f}, kept {stage.kept:.3f}{worse} "
            f"({stage.n_kept}; {stage.n_unfinished} cut off, {stage.n_failed} not scored)"
        )
    click.echo(f"{loop:<7} stage {stage.stage}  evaluation {stage.evaluation:.3f}{drawn}")
