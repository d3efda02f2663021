"""PPO launch: with a running reward service or its own one; one run per seed.

Needs no running service: if no `app` is named, a Ray and a service of `config.reward` are started
and ended here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.config import ClusterConfig
from cluster.data.rejects import Rejects
from cluster.rlhf.ppo.config import PpoRun
from cluster.rlhf.ppo.run import OnStep, run_ppo
from cluster.rlhf.ppo.step_metrics import draw, read_rows, waiting_share
from cluster.serving.client.connect import connect
from cluster.serving.deployment.local_cluster import local_service
from cluster.serving.ray_session import join_service

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class PpoReport:
    """One finished run. folder: its policy/, log.jsonl and ppo.png.

    waiting_share: share of the time spent waiting for rewards. n_broken: broken rows of prompts;
    broken: the first of them, one line each.
    """

    folder: Path
    futures: bool
    waiting_share: float
    n_broken: int
    broken: tuple[str, ...]


def train_ppo(
    config: PpoRun,
    *,
    app: str | None = None,
    seeds: Sequence[int] = (),
    strict: bool = False,
    on_step: OnStep = lambda row: None,
    on_run: Callable[[PpoReport], object] = lambda report: None,
    say: Say = print,
) -> list[PpoReport]:
    """Every run of `config`, resumed where it was begun.

    app: a running Serve application to score by.  seeds: in place of `ppo.seed`; of several, each
    is a run in a folder `seed-N` of its own and ppo.png shows all.  strict: the first broken row of
    prompts raises InvalidInput.  on_step: gets each step's figures; on_run: each finished run.

    Raises what `run_ppo` raises, and ConfigError for a config that cannot be served.
    """
    reports = []
    with _client(config, app) as client:
        for one in _by_seed(config, seeds):
            reports.append(_run(one, client, strict, on_step, say))
            on_run(reports[-1])
    if len(seeds) > 1:
        runs = {f"seed {seed}": read_rows(_folder(config, seed) / "log.jsonl") for seed in seeds}
        draw(runs, Path(config.out) / "ppo.png")
    return reports


def _run(config: PpoRun, client: Any, strict: bool, on_step: OnStep, say: Say) -> PpoReport:
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    broken = Rejects(folder / "rejects.jsonl", strict)
    run_ppo(config, client, on_step, broken, say)
    share = waiting_share(read_rows(folder / "log.jsonl"))
    return PpoReport(folder, config.ppo.futures, share, broken.n, tuple(broken.lines()))


def _by_seed(config: PpoRun, seeds: Sequence[int]) -> Iterator[PpoRun]:
    if len(seeds) < 2:
        seed = seeds[0] if seeds else config.ppo.seed
        yield replace(config, ppo=replace(config.ppo, seed=seed))
        return
    for seed in seeds:
        loop = replace(config.ppo, seed=seed)
        yield replace(config, out=str(_folder(config, seed)), ppo=loop)


def _folder(config: PpoRun, seed: int) -> Path:
    """Of one seed among several."""
    return Path(config.out) / f"seed-{seed}"


@contextmanager
def _client(config: PpoRun, app: str | None) -> Iterator[Any]:
    """The handle of a client of the running service `app`, or of one of this run's own."""
    if app is not None:
        join_service(app)
        yield connect(app)
        return
    with local_service(
        ClusterConfig(engine=config.reward),
        replica_options={"ray_actor_options": {"num_cpus": 1}},
    ) as client:
        yield client
