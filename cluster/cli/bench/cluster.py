"""`reward-cluster bench cluster`: the service against the engine alone, or against fake GPUs."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from cluster.cli.console import table_console
from cluster.data.jsonl import write_json


@click.command()
@click.option("--fake-gpu", type=click.IntRange(1), help="The control plane, with N fake GPUs.")
@click.option("--gpu-speed", default=1.0, show_default=True, help="Speed of a fake GPU, in H200s.")
@click.option("--batchers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--calls", type=click.IntRange(3), default=8, show_default=True, help="Of 16 each.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for the figures.")
def cluster(
    fake_gpu: int | None,
    gpu_speed: float,
    batchers: int,
    calls: int,
    rounds: int,
    json_file: Path | None,
) -> None:
    """The service against the engine alone, or its control plane against fake GPUs.

    A fake GPU sleeps as long as an 8B model would take on an H200 (ReplicaConfig.fake_gpu).
    """
    from cluster.bench.cluster import bench_cluster
    from cluster.bench.control_plane import bench_control_plane
    from cluster.bench.tables import print_cluster, print_fake

    log = Console(stderr=True).print
    if fake_gpu:
        result = bench_control_plane(fake_gpu, batchers, gpu_speed, log=log)
        print_fake(result, table_console())
    else:
        result = bench_cluster("cpu", calls, rounds, log)
        print_cluster(result, table_console())
    if json_file:
        write_json(json_file, result)
