"""Annotation of a data set into a file: sharded, resumable, one writer at a time.

Invariant: OUT takes its name only when it is whole, and holds the same bytes whether or not the run
was interrupted; every row of the input is in OUT or in the rejects file. Until then the parts are
in the folder OUT.parts. Parts of other data, settings or weights are refused.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from cluster import __version__
from cluster.config import EngineConfig, TransformConfig
from cluster.data.input_files import find_input
from cluster.data.jsonl import atomic_writer
from cluster.data.output_lock import output_lock
from cluster.data.row_writer import check_writable, row_writer
from cluster.data.transforms import check
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import InvalidInput
from cluster.rlhf.annotation.annotate import Annotated, Pool, annotate, answering
from cluster.rlhf.annotation.shards import Shards
from cluster.rlhf.annotation.summary import RewardSummary
from cluster.rlhf.reward_service import PATIENCE_S

SHOWN = 20
"""How many failures are listed."""
OnRow = Callable[[Annotated], object]


@dataclass(slots=True)
class AnnotationReport:
    """What a run did. n_rows: of the input, earlier parts included.  n_rejected: without a reward.

    n_unscored: responses without a reward in rows that have others.  errors: the first failures.
    """

    summary: RewardSummary
    rejects: Path | None
    n_rows: int = 0
    n_rejected: int = 0
    n_unscored: int = 0
    errors: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """In words: the failures, how many more there are, and the rewards."""
        yield from self.errors
        if self.n_unscored:
            yield f"{self.n_unscored} responses of rows in OUT have no reward"
        if self.n_rejected:
            where = f"; they are in {self.rejects}" if self.rejects else ""
            yield f"{self.n_rejected} rows could not be scored{where}"
        yield self.summary.line(self.n_rows)


def annotate_file(
    source: str,
    out: Path,
    config: EngineConfig | None = None,
    *,
    app: str | None = None,
    patience_s: float = PATIENCE_S,
    rejects: Path | None = None,
    strict: bool = False,
    engines: int | None = None,
    address: str = "local",
    part_rows: int = 1024,
    transforms: Sequence[TransformConfig] = (),
    on_resume: Callable[[int], object] = lambda n_done: None,
    on_row: OnRow = lambda row: None,
) -> AnnotationReport:
    """Score every row of `source` and write it with its rewards to `out`.

    source: see `find_input`; row formats: see `cluster.data.formats`.  config: of own engines, or
    app: a running Serve application, waited for `patience_s` seconds at most.  rejects: file for
    rows without any reward, None for none.  strict: the first failure raises InvalidInput.
    address: of the Ray to work in, unless this process has joined one.  transforms: recorded as
    `transformed_rewards` beside the raw ones, those of groups within a row.  on_resume: called with
    how many rows an earlier run has done.

    Raises ConfigError where `out` is being written already, where its parts are of other data,
    settings or weights, or for a config that cannot work; InvalidInput for a source that cannot be
    read; NotReady where the service stays away. What is done is kept in all cases.
    """
    check(transforms)
    check_writable(out)
    if app is None:
        ChatEncoder.load(config or EngineConfig())  # refuses what cannot be loaded, before any Ray
    digest = find_input(source).digest
    with output_lock(out.with_name(f"{out.name}.parts")), _ray(address, engines, app) as (n, gpus):
        pool = Pool(config or EngineConfig(), n=n, gpus=gpus, app=app, patience_s=patience_s)
        pool = replace(pool, made_by=answering(pool), transforms=tuple(transforms))
        parts = Shards(out.with_name(f"{out.name}.parts"), _manifest(source, digest, pool))
        if parts.n_done:
            on_resume(parts.n_done)
        if strict and (known := next((f.errors for f in parts.facts() if f.errors), None)):
            raise InvalidInput(f"{known[0]}, in an earlier part of this run; nothing is written")
        rows = _watched(annotate(source, pool, parts.n_done), strict, on_row)
        for chunk in _chunks(rows, part_rows):
            parts.add(chunk)
        return _join(parts, out, rejects)


def _chunks(rows: Iterator[Annotated], size: int) -> Iterator[list[Annotated]]:
    while chunk := list(islice(rows, size)):
        yield chunk


def _watched(rows: Iterator[Annotated], strict: bool, on_row: OnRow) -> Iterator[Annotated]:
    for row in rows:
        if strict and row.errors:
            raise InvalidInput(f"{row.errors[0]}; nothing is written")
        on_row(row)
        yield row


def _join(parts: Shards, out: Path, rejects: Path | None) -> AnnotationReport:
    """Write `out` and the rejects from the parts, which are removed."""
    report = AnnotationReport(RewardSummary(), rejects, n_rows=parts.n_done)
    for facts in parts.facts():
        if facts.rejected:
            report.n_rejected += 1
        else:
            report.n_unscored += len(facts.errors)
            report.summary.add(facts.rewards)
        report.errors += facts.errors[: SHOWN - len(report.errors)]
    if rejects is not None and (report.n_rejected or rejects.is_file()):
        with atomic_writer(rejects) as sink:
            sink.writelines(parts.rejected())
    with row_writer(out) as sink:
        sink.writelines(parts.kept())
    parts.remove()
    return report


def _manifest(source: str, digest: str, pool: Pool) -> dict[str, Any]:
    """What the bytes of the output depend on."""
    return {
        "version": __version__,
        "source": source,
        "data": digest,
        "app": pool.app,
        "engine": None if pool.app else asdict(pool.config),
        "made_by": dict(pool.made_by),
        "transforms": [asdict(step) for step in pool.transforms],
    }


@contextmanager
def _ray(address: str, engines: int | None, app: str | None) -> Iterator[tuple[int, float]]:
    """A Ray to work in; the number of engines and the GPUs of each."""
    import ray

    own = not ray.is_initialized()
    if app is not None:
        from cluster.serving.ray_session import join_service

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
