"""`reward-cluster status`: a live table of a running service."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

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
    from cluster.serving.status_table import status_view

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

    from cluster.serving import status

    record = status.as_record(now)
    del record["at"]
    return record | {"throughput": to_jsonable_python(done)}


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
