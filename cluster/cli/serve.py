"""`reward-cluster serve`: `serve run` for a config whose every key is checked first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from cluster.cli.config_options import SettingsCommand, given_settings, setting_options
from cluster.config import ClusterConfig


@click.command(cls=SettingsCommand)
@click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--local", is_flag=True, help="Without CONFIG: the built-in model, on this CPU.")
@click.option("--check", is_flag=True, help="Only check the file; start nothing.")
@click.option("--port", type=click.IntRange(1, 65535), help="Instead of http_options.port.")
@click.option(
    "--address",
    default=lambda: os.environ.get("RAY_ADDRESS", "local"),
    help="Ray cluster to deploy to; `auto` joins one running on this machine. Default: "
    "RAY_ADDRESS, else a new Ray on this machine that ends with this command.",
)
@click.option(
    "--timeout", default=1800.0, show_default=True, help="Seconds to wait for the first replica."
)
@click.option(
    "--drain",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds for accepted work to end after SIGTERM or Ctrl-C.",
)
@setting_options(ClusterConfig)
def serve(
    config: Path | None,
    local: bool,
    check: bool,
    port: int | None,
    address: str,
    timeout: float,
    drain: float,
    **options: Any,
) -> None:
    """Serve the applications of CONFIG, a Serve YAML file, until interrupted.

    The settings below override `args` in CONFIG (`reward-cluster config serve` prints a whole
    file); replicas, GPUs and HTTP ports are in Serve's own sections of it.

    Unlike `serve run`, every unknown key is an error, a port that is in use is refused, API
    keys in REWARD_CLUSTER_KEYS protect the service wherever it runs, and a deployment that can
    never start (no GPU, refused model) ends the command with the reason.
    SIGTERM and Ctrl-C let accepted work end. Trainers and `status` on this machine find the
    service by themselves.

    Exit status: 0 interrupted after serving, or the check passed; 2 the config cannot work.
    """
    from cluster.serving.deployment.serve_config import LOCAL, load_config_file

    if local == (config is not None):
        raise click.UsageError("give a CONFIG, or --local for the built-in model")
    path = config or LOCAL
    here = address in ("local", "auto")
    schema = load_config_file(path, given_settings(options), files_here=here or check)
    if port is not None:
        schema.http_options.port = port
    if check:
        from cluster.serving.deployment.deploy import with_keys

        _, access = with_keys(schema)
        click.echo(f"{path}: valid; {access}")
        return
    from cluster.serving.deployment.foreground import serve_until_signalled

    serve_until_signalled(schema, address, timeout, drain, click.echo)
