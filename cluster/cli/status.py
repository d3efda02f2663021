"""`reward-cluster status`: a live table of a running service."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from cluster.serving.status import Snapshot, Throughput


@click.command()
@click.option(
    "--address",
    default=lambda: os.environ.get("RAY_ADDRESS", "auto"),
    help="Ray cluster to inspect. Default: RAY_ADDRESS, else the one that serves on this machine.",
)
@click.option("--app", default="reward", show_default=True, help="Serve application.")
@click.option("--once", is_flag=True, help="Print one table and end.")
@click.option("--json", "as_json", is_flag=True, help="JSON, a line per update, not a table.")
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Seconds between updates, over which throughput is measured.",
)
def status(address: str, app: str, once: bool, as_json: bool, interval: float) -> None:
    """Replicas, queue and throughput of a running service, until interrupted.

    Exit status, with --once: 0 the application runs, 1 it does not; 2 there is no Ray cluster.
    """
    from cluster.serving.ray_session import join
    from cluster.serving.status import snapshot, throughput

    join(address, app=app, quiet=True)
    before = snapshot(app)
    with _Screen(live=not (once or as_json)) as screen:
        while True:
            time.sleep(interval)
            now = snapshot(app)
            done = throughput(before, now)
            if as_json:
                click.echo(json.dumps(as_record(now, done)))
            else:
                screen.show(status_view(now, done))
            if once:
                raise SystemExit(0 if now.status == "RUNNING" else 1)
            before = now


def as_record(now: Snapshot, done: Throughput | None) -> dict[str, object]:
    """The same as the table shows, as JSON."""
    from pydantic_core import to_jsonable_python

    record: dict[str, object] = to_jsonable_python(now)
    del record["at"]
    return record | {"throughput": to_jsonable_python(done)}


def status_view(now: Snapshot, done: Throughput | None) -> RenderableType:
    """Three small tables under one another."""
    from rich.console import Group
    from rich.text import Text

    color = "green" if now.status == "RUNNING" else "yellow"
    head = Text.assemble(now.app, " ", (now.status, color), f" {now.message}".rstrip())
    tables = (_deployments(now), _models(now), _numbers(now, done))
    return Group(head, *(table for table in tables if table.row_count))


def _deployments(now: Snapshot) -> Table:
    table = _table("deployment", "status", "replicas")
    for each in now.deployments:
        states = ", ".join(f"{n} {state.lower()}" for state, n in each.replicas.items())
        table.add_row(each.name, each.status, states)
    return table


def _models(now: Snapshot) -> Table:
    names = ["model", "revision", "device", "dtype", "numerics", "replicas"]
    if refused := any(model.load_error for model in now.models):
        names.append("requested weights failed to load")
    table = _table(*names)
    for model, count in Counter(now.models).items():
        row = [model.model, model.revision, model.device, model.dtype, model.numerics, str(count)]
        table.add_row(*row, *([model.load_error or ""] if refused else []))
    return table


def _numbers(now: Snapshot, done: Throughput | None) -> Table:
    table = _table("queue and throughput", "")
    queue, totals = now.queue, now.totals
    if queue is not None:
        table.add_row("waiting", f"{queue.queued_items:,} chats, {queue.queued_tokens:,} tokens")
        table.add_row("running", f"{queue.running_tokens:,} tokens")
        table.add_row("oldest item", f"{queue.oldest_s:.1f} s")
        table.add_row("last batch sent", f"{queue.since_dispatch_s:.1f} s ago")
        if queue.struck:
            table.add_row("unresponsive replicas", ", ".join(queue.struck))
    if done is not None:
        speed = f"{done.items_per_s:,.1f} chats/s, {done.tokens_per_s:,.0f} tokens/s"
        table.add_row(f"last {done.seconds:.1f} s", speed)
        table.add_row("tokens per batch", f"{done.tokens_per_batch:,.0f}")
        table.add_row("prefix tokens saved", f"{done.saved_share:.1%}")
        table.add_row("replicas busy", f"{done.busy_replicas:.2f}")
    if (kept := now.prompts) is not None and kept.max_bytes:
        held = f"{kept.prompts:,}, {kept.bytes / 2**20:,.0f} of {kept.max_bytes / 2**20:,.0f} MiB"
        table.add_row("cached prompts", held)
        table.add_row("prompt hits", f"{kept.hits:,} of {kept.hits + kept.misses:,}")
        table.add_row("tokens saved by hits", f"{kept.hit_tokens:,}")
    if totals is not None:
        table.add_row("since start", f"{totals.items:,} chats, {totals.tokens:,} tokens")
        table.add_row("batches retried", f"{totals.retries:,}")
        errors = ", ".join(f"{n:,} {code}" for code, n in totals.errors.most_common())
        table.add_row("errors", errors or "none")
        if (shape := totals.rewards) is not None:
            low, high = min(shape.quantiles.values()), max(shape.quantiles.values())
            spread = f"{shape.mean:.3f} ± {shape.std:.3f}, 98% in [{low:.3f}, {high:.3f}]"
            table.add_row("rewards", spread)
    return table


def _table(*names: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(*names, box=box.SIMPLE_HEAD, pad_edge=False)


class _Screen:
    """Prints, or redraws in place where `live`. Ctrl-C ends either without a traceback."""

    def __init__(self, live: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if live else None

    def __enter__(self) -> _Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        if self._live is not None:
            self._live.stop()
        return kind is KeyboardInterrupt

    def show(self, view: RenderableType) -> None:
        if self._live is None:
            self._console.print(view)
        else:
            self._live.update(view, refresh=True)
