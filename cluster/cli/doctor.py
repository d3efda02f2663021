"""`reward-cluster doctor`: in seconds, what will work, what will not, and what to type."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from cluster.cli.engine_options import engine_config, engine_options_beside

MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


@click.command()
@click.argument("target", metavar="MODEL|APP|URL")
@click.option("--api-key", envvar="REWARD_API_KEY", help="Key of a service. [$REWARD_API_KEY]")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON per check.")
@engine_options_beside("model")
def doctor(target: str, api_key: str | None, as_json: bool, **options: Any) -> None:
    """Look at MODEL (built in, a folder, a hub id) on this machine, at a running Serve application
    APP, or at a service's URL.

    For a model: packages, devices, memory, Ray, port, keys; whether its files are available, its
    head, tokenizer, template and pad token, and whether its weights fit. No weights are loaded. For
    a service: readiness, replicas, queue, model, and one scored chat.

    Exit status: 0 no problem; 1 a problem; 2 wrong usage or config.
    """
    from cluster.doctor.run import examine, kind, next_line

    named = {"model": target} if kind(target) == "model" else {}
    failed = False
    for check in examine(target, engine_config(**options, **named), api_key):
        failed = failed or check.state == "problem"
        if as_json:
            click.echo(json.dumps(asdict(check)))
        else:
            click.echo(f"{MARKS[check.state]}  {check.name}: {check.found}")
    line = next_line(target, failed)
    if line and not as_json:
        click.echo(f"next: {line}")
    sys.exit(1 if failed else 0)
