"""What `raft` and `dpo` share on the command line: options, seeds, and what is printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cluster.cli.config_options import read_yaml
from cluster.cli.scoring_backend import refuse_beside_app, scorer

if TYPE_CHECKING:
    from cluster.rlhf.iteration.stages import Stage

F = TypeVar("F", bound=Callable[..., Any])


def loop_options(command: F) -> F:
    """Add CONFIG and the options; the command takes config, out, stages, seeds, strict and app."""
    yaml = click.Path(exists=True, dir_okay=False, path_type=Path)
    folder = click.Path(file_okay=False, path_type=Path)
    for decorate in reversed(
        (
            click.argument("config", required=False, type=yaml),
            click.option("--out", type=folder, help="Folder instead of `out`."),
            click.option("--stages", type=click.IntRange(min=1), help="Stages to make."),
            click.option(
                "--seed",
                "seeds",
                type=int,
                multiple=True,
                help="Instead of CONFIG's; may be repeated.",
            ),
            click.option("--strict", is_flag=True, help="Stop at the first broken row."),
            click.option("--app", help="Score by this running Serve application."),
        )
    ):
        command = decorate(command)
    return command


def run_seeds(
    kind: type[Any],
    name: str,
    run: Callable[..., object],
    config: Path | None,
    out: Path | None,
    stages: int | None,
    seeds: tuple[int, ...],
    strict: bool,
    app: str | None,
) -> None:
    """Parse the config as `kind`, call `run` for each seed, print, and exit."""
    given = read_yaml(config)
    if "reward" in given:
        refuse_beside_app(app, ["reward (of the config)"])
    runs = list(_by_seed(kind, name, given, out, stages, seeds))
    score = scorer(runs[0].reward, app)
    n_broken = sum(_run(one, name, run, score, strict) for one in runs)
    if len(runs) > 1:
        from cluster.rlhf.iteration.run import draw_seeds

        folders = [Path(one.out) for one in runs]
        draw_seeds(folders, folders[0].parent / f"{name}.png")
    sys.exit(1 if n_broken else 0)


def _run(config: Any, name: str, run: Callable[..., object], score: Any, strict: bool) -> int:
    """One run; the number of broken rows of prompts."""
    from cluster.data.rejects import Rejects

    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    broken = Rejects(folder / "rejects.jsonl", strict)
    run(config, score, _show, broken)
    for line in broken.lines():
        click.echo(line, err=True)
    last = getattr(config, name).stages
    click.echo(f"the policy is {config.out}/{name}/stage-{last:03}", err=True)
    return broken.n


def _by_seed(
    kind: type[Any],
    name: str,
    given: Mapping[str, Any],
    out: Path | None,
    stages: int | None,
    seeds: tuple[int, ...],
) -> Iterator[Any]:
    """A config per seed, options of the command line first. Raises ConfigError."""
    from cluster.config import parse_config

    for seed in seeds or (None,):
        inner = {"stages": stages, "seed": seed}
        loop = dict(given.get(name) or {}) | {k: v for k, v in inner.items() if v is not None}
        values = dict(given) | {name: loop} | ({"out": str(out)} if out is not None else {})
        config = parse_config(kind, values)
        if len(seeds) > 1:
            config = parse_config(kind, values | {"out": f"{config.out}/seed-{seed}"})
        yield config


def _show(loop: str, stage: Stage) -> None:
    drawn = ""
    if stage.kept is not None:
        worse = "" if stage.rejected is None else f", rejected {stage.rejected:.3f}"
        drawn = (
            f"  drew: first {stage.first:.3f}, all {stage.mean:.3f}, kept {stage.kept:.3f}{worse} "
            f"({stage.n_kept}; {stage.n_unfinished} cut off, {stage.n_failed} not scored)"
        )
    click.echo(f"{loop:<7} stage {stage.stage}  evaluation {stage.evaluation:.3f}{drawn}")
