"""`reward-cluster ppo`: PPO on Ray from a configuration, resumable, over one or more seeds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.cli.scoring_backend import refuse_beside_app
from cluster.cli.yaml_config import read_settings

if TYPE_CHECKING:
    from cluster.rlhf.ppo.config import PpoRun
    from cluster.rlhf.ppo.step_log import StepRow


@click.command()
@click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder instead of `out`."
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps instead of `ppo.steps`.")
@click.option(
    "--seed", "seeds", type=int, multiple=True, help="Instead of `ppo.seed`; may be repeated."
)
@click.option(
    "--futures/--blocking", default=None, help="Score while generating, or afterwards and wait."
)
@click.option("--strict", is_flag=True, help="The first broken row of prompts ends the run.")
@click.option("--app", help="Score by this running Serve application instead of an own one.")
def ppo(
    config: Path | None,
    out: Path | None,
    steps: int | None,
    seeds: tuple[int, ...],
    futures: bool | None,
    strict: bool,
    app: str | None,
) -> None:
    """Train a policy by PPO on rewards of the cluster, through the actor client.

    CONFIG is YAML; without it, a tiny policy on generated prompts. Rollout workers are Ray actors;
    each chunk of responses is scored through `client.score.remote` while the next one is generated.
    A killed run resumes from its last checkpoint when the command is given again. Several seeds are
    runs in folders of their own, and ppo.png shows all of them.

    Exit status: 0 done; 1 done, but some rows of prompts are broken; 2 wrong usage or config.
    """
    given = read_settings(config)
    if "reward" in given:
        refuse_beside_app(app, ["reward (of the config)"])
    settings = _settings(given, out, steps, futures)
    n_broken = 0
    with _client(settings, app) as client:
        for one in _by_seed(settings, seeds):
            n_broken += _run(one, client, strict)
    if len(seeds) > 1:
        _draw_all(settings, seeds)
    sys.exit(1 if n_broken else 0)


def _run(settings: PpoRun, client: Any, strict: bool) -> int:
    """One run; the number of broken rows of prompts."""
    from cluster.data.rejects import Rejects
    from cluster.rlhf.ppo.run import train_ppo
    from cluster.rlhf.ppo.step_log import read_rows, waiting_share

    folder = Path(settings.out)
    folder.mkdir(parents=True, exist_ok=True)
    broken = Rejects(folder / "rejects.jsonl", strict)
    train_ppo(settings, client, _show, broken)
    for line in broken.lines():
        click.echo(line, err=True)
    rows = read_rows(folder / "log.jsonl")
    how = "with futures" if settings.ppo.futures else "blocking"
    click.echo(f"{how}: {100 * waiting_share(rows):.1f}% of the time waiting for rewards")
    click.echo(f"the policy is {folder}/policy", err=True)
    return broken.n


def _settings(
    given: dict[str, Any], out: Path | None, steps: int | None, futures: bool | None
) -> PpoRun:
    """The file's values, options of the command line first. Raises ConfigError."""
    from cluster.config import parse_config
    from cluster.rlhf.ppo.config import PpoRun

    if out is not None:
        given = given | {"out": str(out)}
    inner = {"steps": steps, "futures": futures}
    loop = dict(given.get("ppo") or {}) | {k: v for k, v in inner.items() if v is not None}
    return parse_config(PpoRun, given | {"ppo": loop})


def _by_seed(settings: PpoRun, seeds: tuple[int, ...]) -> Iterator[PpoRun]:
    if len(seeds) < 2:
        seed = seeds[0] if seeds else settings.ppo.seed
        yield replace(settings, ppo=replace(settings.ppo, seed=seed))
        return
    for seed in seeds:
        loop = replace(settings.ppo, seed=seed)
        yield replace(settings, out=f"{settings.out}/seed-{seed}", ppo=loop)


def _draw_all(settings: PpoRun, seeds: tuple[int, ...]) -> None:
    from cluster.rlhf.ppo.step_log import draw, read_rows

    folder = Path(settings.out)
    runs = {f"seed {seed}": read_rows(folder / f"seed-{seed}/log.jsonl") for seed in seeds}
    draw(runs, folder / "ppo.png")


@contextmanager
def _client(settings: PpoRun, app: str | None) -> Iterator[Any]:
    """The handle of a client of the running service `app`, or of one of this command's own."""
    from cluster.config import ClusterConfig
    from cluster.serving.client.connect import connect
    from cluster.serving.deployment.local_cluster import local_service
    from cluster.serving.ray_session import join_service

    if app is not None:
        join_service(app)
        yield connect(app)
        return
    with local_service(
        ClusterConfig(engine=settings.reward),
        replica_options={"ray_actor_options": {"num_cpus": 1}},
    ) as client:
        yield client


def _show(row: StepRow) -> None:
    click.echo(
        f"step {row.step}  reward {row.reward:.3f} +- {row.reward_std:.3f}  kl {row.kl:.2f}  "
        f"clip_fraction {row.clip_fraction:.3f}  explained_variance "
        f"{row.explained_variance:.2f}  cut off {row.unfinished}  "
        f"failed {row.failed}  {row.step_s:.1f} s: generating {row.generating_s:.1f}, "
        f"waiting {row.waiting_s:.2f}, learning {row.learning_s:.1f}"
    )
