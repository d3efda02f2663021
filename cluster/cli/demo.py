"""`reward-cluster demo`: the whole path on this machine, in one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cluster.cli.engine_options import engine_config, engine_options


@click.command()
@click.option(
    "--file",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rows of `prompt` and `responses` to score instead of the packaged ones; `person`, the "
    "number of the response a person prefers, counted from 0, may stand beside them.",
)
@click.option(
    "--keep",
    is_flag=True,
    help="Leave the service up until Ctrl-C, with HTTP on a free port of 127.0.0.1.",
)
@engine_options
def demo(source: Path | None, keep: bool, **options: Any) -> None:
    """Start a local cluster, score chats through the actor client, and show the rewards.

    Starts a Ray of its own with a Serve application (batcher and one replica) and a client actor,
    submits one future per prompt, prints every reward, the model's choice and a person's for each
    prompt, and shuts everything down.

    Exit status: 0 every response has a reward; 1 some have an error; 2 nothing could be scored.
    """
    config = engine_config(**options)
    from cluster.bench.http_client import free_port
    from cluster.cli.console import table_console
    from cluster.demo.run import run_demo

    http_port = free_port() if keep else None
    sys.exit(0 if run_demo(source, config, table_console(), http_port) else 1)
