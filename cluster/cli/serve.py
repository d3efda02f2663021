"""`reward-cluster serve`: `serve run` for a config whose every key is checked first."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only check the file; start nothing.")
@click.option(
    "--address",
    default=lambda: os.environ.get("RAY_ADDRESS", "local"),
    help="Ray cluster to deploy to; `auto` joins one running on this machine. Default: "
    "RAY_ADDRESS, else a new Ray on this machine that ends with this command.",
)
@click.option(
    "--timeout", default=1800.0, show_default=True, help="Seconds to wait for the first replica."
)
def serve(config: Path, check: bool, address: str, timeout: float) -> None:
    """Serve the applications of CONFIG, a Serve YAML file, until interrupted.

    Unlike `serve run`, every unknown key is an error, and a deployment that can never start (no
    GPU, refused model) ends the command with the reason.

    Exit status: 0 interrupted after serving, or the check passed; 2 the config cannot work.
    """
    from cluster.serving.config_file import load_config_file

    schema = load_config_file(config)
    if check:
        click.echo(f"{config}: every key is known and every value fits")
        return
    _serve(schema, address, timeout)


def _serve(schema: ServeDeploySchema, address: str, timeout: float) -> None:
    import ray

    from cluster.serving.deploy import check_resources, deploy, wait_until_running
    from cluster.serving.http.proxy import set_proxy_errors

    set_proxy_errors()
    ray.init(address=address, include_dashboard=False if address == "local" else None)
    try:
        check_resources(schema)
        deploy(schema)
        for line in wait_until_running(schema, timeout):
            click.echo(line)
        at = ray.get_runtime_context().gcs_address
        click.echo(f"Serving {_http(schema)}, Ray at {at}. Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    finally:
        ray.shutdown()


def _http(schema: ServeDeploySchema) -> str:
    if schema.proxy_location == "Disabled":
        return "actor handles alone, without HTTP"
    return f"on http://{schema.http_options.host}:{schema.http_options.port}"
