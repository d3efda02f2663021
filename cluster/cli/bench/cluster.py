"""`reward-cluster bench cluster`: the service against the engine alone, or one part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cluster.cli.console import table_console
from cluster.data.jsonl import write_json

HOP_REQUESTS = 40
"""Requests that --hops sends."""


@click.command()
@click.option("--fake-gpu", type=click.IntRange(1), help="The control plane, with N fake GPUs.")
@click.option("--hops", is_flag=True, help="Where the time of an idle HTTP request goes.")
@click.option(
    "--posts", type=click.IntRange(16), help="OpenRLHF's one-sample posts, N at a time (256)."
)
@click.option("--gpu-speed", default=1.0, show_default=True, help="Speed of a fake GPU, in H200s.")
@click.option("--batchers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--calls", type=click.IntRange(3), default=8, show_default=True, help="Of 16 each.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for the figures.")
def cluster(
    fake_gpu: int | None,
    hops: bool,
    posts: int | None,
    gpu_speed: float,
    batchers: int,
    calls: int,
    rounds: int,
    json_file: Path | None,
) -> None:
    """Measure the service against the engine alone, or one part of it.

    --fake-gpu: the control plane alone; a fake GPU sleeps as long as an 8B model would take on an
    H200 (ReplicaConfig.fake_gpu). --hops: one chat at a time over HTTP, with time stamps in every
    process. --posts: one sample per post, as OpenRLHF sends them, against posts of whole groups and
    against a server that works like OpenRLHF's.
    """
    from cluster.bench.cluster import bench_cluster
    from cluster.bench.control_plane import bench_control_plane
    from cluster.bench.hops.run import bench_hops
    from cluster.bench.http_tables import print_hops, print_posts
    from cluster.bench.posts import bench_posts
    from cluster.bench.tables import print_cluster, print_fake

    if sum(map(bool, (fake_gpu, hops, posts))) > 1:
        raise click.UsageError("--fake-gpu, --hops and --posts are measurements of their own")
    log = Console(stderr=True).print
    result: dict[str, Any]
    if hops:
        result = bench_hops("cpu", HOP_REQUESTS, log)
        print_hops(result, table_console())
    elif posts:
        result = bench_posts("cpu", posts, rounds, log)
        print_posts(result, table_console())
    elif fake_gpu:
        result = bench_control_plane(fake_gpu, batchers, gpu_speed, log=log)
        print_fake(result, table_console())
    else:
        result = bench_cluster("cpu", calls, rounds, log)
        print_cluster(result, table_console())
    if json_file:
        write_json(json_file, result)
