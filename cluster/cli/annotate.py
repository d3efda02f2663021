"""`reward-cluster annotate`: rewards for a whole data set, on every node, resumable."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cluster import __version__
from cluster.cli.group_options import OutFile, rejects_path
from cluster.cli.options import engine_config, engine_options
from cluster.cli.progress import TokenProgress
from cluster.cli.scorers import join_service, refuse_beside_app
from cluster.config import EngineConfig
from cluster.errors import InvalidInput
from cluster.files import atomic_writer, read_rows
from cluster.rlhf import sources
from cluster.rlhf.parts import Parts
from cluster.rlhf.reward_summary import RewardSummary

if TYPE_CHECKING:
    from cluster.rlhf.annotate import Pool

SHOWN = 20


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", type=OutFile())
@click.option(
    "--rejects",
    type=OutFile(),
    help="File for rows that cannot be scored. Default: OUT with .rejects.jsonl at its end.",
)
@click.option("--strict", is_flag=True, help="The first such row ends the run.")
@click.option("--histogram", type=OutFile(), help="Picture of the rewards, .png, .svg or .pdf.")
@click.option("--engines", type=click.IntRange(min=1), help="Engines. [one a GPU, else one]")
@click.option(
    "--address",
    default="local",
    show_default=True,
    help="Ray cluster; `auto` joins the one that runs here.",
)
@click.option("--app", help="Score by this running Serve application instead of own engines.")
@click.option(
    "--part-rows",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Rows that a killed run loses at most.",
)
@engine_options
def annotate(
    source: str,
    out: Path,
    rejects: Path | None,
    strict: bool,
    histogram: Path | None,
    engines: int | None,
    address: str,
    app: str | None,
    part_rows: int,
    **options: Any,
) -> None:
    """Score every response of every row of IN and write the rows with `rewards` to OUT.

    IN is .jsonl or .json (.gz too), .parquet, a folder of either, or a URL of one (s3://, gs://,
    hdfs://, file://; a JSON array only as a local file). A row has `prompt` and `responses`, any
    number of them; the other formats of `score` work too. Order is kept. A killed run goes on
    where it stopped when the command is given again, and ends with the same bytes; until then its
    parts are in the folder OUT.parts. Parts of other data, settings or weights are refused.

    Exit status: 0 done; 1 done, but some rows could not be scored; 2 nothing written to OUT.
    """
    config = engine_config(**options)
    _check_model(config, app, options)
    data = sources.find(source).digest
    with _ray(address, engines, app) as (n, gpus):
        from cluster.rlhf.annotate import Pool, answering

        pool = Pool(config, n=n, gpus=gpus, app=app)
        pool = replace(pool, made_by=answering(pool))
        parts = Parts(out.with_name(f"{out.name}.parts"), _manifest(source, data, pool))
        if parts.n_done:
            click.echo(f"going on after the {parts.n_done} rows of an earlier run", err=True)
        _score(source, pool, parts, part_rows, strict)
    n_bad = _join(parts, out, rejects_path(out, rejects), histogram)
    sys.exit(1 if n_bad else 0)


def _check_model(config: EngineConfig, app: str | None, options: Mapping[str, Any]) -> None:
    """Refuse here, before Ray is started, a model that cannot be loaded or that nobody asks."""
    context = click.get_current_context()
    given = [n for n in options if context.get_parameter_source(n) is ParameterSource.COMMANDLINE]
    refuse_beside_app(app, given)
    if app is None:
        from cluster.engine.chat import ChatEncoder

        ChatEncoder.load(config)


def _score(source: str, pool: Pool, parts: Parts, part_rows: int, strict: bool) -> None:
    """Add the missing parts."""
    from cluster.rlhf.annotate import annotate as annotated

    kept: list[str] = []
    rejected: list[str] = []
    if strict and any(parts.rejected()):
        raise InvalidInput("an earlier part of this run holds a row that cannot be scored")
    with TokenProgress(_count(source, parts.n_done)) as progress:
        for row in annotated(source, pool, parts.n_done):
            if row.error is not None and strict:
                raise InvalidInput(f"{_told(row.line)}; nothing is written")
            (kept if row.error is None else rejected).append(row.line)
            progress.add_row()
            progress.add_tokens(row.n_tokens)
            if len(kept) + len(rejected) == part_rows:
                parts.add(kept, rejected)
                kept, rejected = [], []
    if kept or rejected:
        parts.add(kept, rejected)


def _join(parts: Parts, out: Path, rejects: Path | None, histogram: Path | None) -> int:
    """Write OUT and the rest from the parts, tell the summary; the number of rejected rows."""
    from cluster.rlhf.annotate import summary_rewards

    summary = RewardSummary()
    n_bad = 0
    for line in parts.rejected():
        n_bad += 1
        if n_bad <= SHOWN:
            click.echo(_told(line), err=True)
    if rejects is not None and (n_bad or rejects.is_file()):
        with atomic_writer(rejects) as sink:
            sink.writelines(parts.rejected())
    with atomic_writer(out) as sink:
        for line in parts.kept():
            sink.write(line)
            summary.add(summary_rewards(line))
    if histogram is not None and parts.n_done > n_bad:
        summary.draw(histogram)
    if n_bad:
        click.echo(f"{n_bad} rows could not be scored; they are in {rejects}", err=True)
    click.echo(summary.line(parts.n_done), err=True)
    parts.remove()
    return n_bad


def _told(rejected: str) -> str:
    """The error of a rejected row's line, for people."""
    error = json.loads(rejected)["error"]
    return f"line {error['line']}: {error['message']} [{error['code']}]"


@contextmanager
def _ray(address: str, engines: int | None, app: str | None) -> Iterator[tuple[int, float]]:
    """A Ray to work in; the number of engines and the GPUs of each."""
    import ray
    import ray.data  # sets up its loggers, so it comes before the next line

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    own = not ray.is_initialized()
    if app is not None:
        join_service(app, None if address == "local" else address)
    elif own:
        _start_ray(address, engines or 1)
    try:
        resources: Any = ray.cluster_resources  # untyped there
        n_gpus = int(resources().get("GPU", 0))
        yield engines or max(1, n_gpus), 1.0 if n_gpus else 0.0
    finally:
        if own:
            ray.shutdown()


def _start_ray(address: str, engines: int) -> None:
    import ray

    local = address == "local"
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // engines))}
    ray.init(
        address=address,
        include_dashboard=False if local else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": threads} if local else None,
    )


def _manifest(source: str, data: str, pool: Pool) -> dict[str, Any]:
    """What the bytes of the output depend on."""
    return {
        "version": __version__,
        "source": source,
        "data": data,
        "app": pool.app,
        "engine": None if pool.app else asdict(pool.config),
        "made_by": dict(pool.made_by),
    }


def _count(source: str, skip: int) -> int | None:
    """Rows to come, None where nobody looks or only Ray Data can tell."""
    if not sys.stderr.isatty() or not Path(source).is_file() or source.endswith(".parquet"):
        return None
    return sum(1 for _ in read_rows(Path(source))) - skip
