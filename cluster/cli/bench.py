"""`reward-cluster bench`: speed as ratios within one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import click
from rich.console import Console

from cluster.bench.workloads import DEFAULT, Workload
from cluster.cli.console import table_console
from cluster.data.jsonl import write_json
from cluster.errors import ConfigError


@click.group()
def bench() -> None:
    """Measure speed, as ratios within one run: machines differ and are noisy."""


@bench.command()
@click.option(
    "--preset",
    type=click.Choice(["cpu", "8b"]),
    default="cpu",
    show_default=True,
    help="Model shape, random weights: 24M layer parameters, or Llama-3-8B for a GPU.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--token-budget", default=8192, show_default=True, help="Unique tokens per forward.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; medians are reported.")
@click.option(
    "--box", default=8.0, show_default=True, help="Seconds per round for contenders that sample."
)
@click.option(
    "--workload",
    "names",
    type=click.Choice(get_args(Workload)),
    multiple=True,
    help="Repeatable; default: grouped, ungrouped, streaming. long-32k takes minutes on a CPU.",
)
@click.option("--only", multiple=True, help="Contenders whose name contains this; repeatable.")
@click.option(
    "--count", "gpu", type=click.Choice(["h100", "h200"]), help="Count a forward; needs no GPU."
)
@click.option("--vllm", metavar="PYTHON", help="A python with vLLM, as a further contender.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for the figures.")
def engine(
    preset: Any,
    device: str,
    token_budget: int,
    rounds: int,
    box: float,
    names: tuple[Workload, ...],
    only: tuple[str, ...],
    gpu: str | None,
    vllm: str | None,
    json_file: Path | None,
) -> None:
    """The engine against plain transformers, on rollouts of several shapes.

    With --count nothing is measured: kernels, FLOPs and bytes of batches of several shapes are
    counted, and the time is what the data sheet of the GPU allows.
    """
    from cluster.bench.count import count_forward
    from cluster.bench.count_table import print_count
    from cluster.bench.engine import bench_engine
    from cluster.bench.tables import print_engine
    from cluster.engine.model import resolve_device

    if gpu:
        result = count_forward(preset, gpu)
        print_count(result, table_console())
    else:
        log = Console(stderr=True)
        where = resolve_device(device)
        try:
            result = bench_engine(
                preset, where, token_budget, rounds, box, only, log.print, vllm, names or DEFAULT
            )
        except ConfigError as error:
            raise click.ClickException(str(error)) from None
        print_engine(result, table_console())
    if json_file:
        write_json(json_file, result)


@bench.command()
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


@bench.command()
@click.option("--preset", type=click.Choice(["cpu"]), help="Random weights of this shape.")
@click.option("--prompts", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def training(
    preset: Literal["cpu"] | None, prompts: int, rounds: int, json_file: Path | None
) -> None:
    """Training on preference pairs, against TRL's RewardTrainer (extra: train).

    Without --preset the built-in model is trained. Prompts of 100 to 600 tokens, with 4 responses
    each: all 6 pairs of a prompt, and one pair of each alone.
    """
    from cluster.bench.tables import print_training
    from cluster.bench.training import bench_training

    result = bench_training(preset, prompts, rounds, Console(stderr=True).print)
    print_training(result, table_console())
    if json_file:
        write_json(json_file, result)
