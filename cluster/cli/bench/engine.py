"""`reward-cluster bench engine`: the engine against plain transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console

from cluster.bench.workloads import DEFAULT, Workload
from cluster.cli.console import table_console
from cluster.data.jsonl import write_json


@click.command()
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
    """Measure the engine against plain transformers, on rollouts of several shapes.

    With --count nothing is measured: the kernels, FLOPs and bytes of several batch shapes are
    counted, and the time is the shortest that the GPU's data sheet allows.
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
        result = bench_engine(
            preset, where, token_budget, rounds, box, only, log.print, vllm, names or DEFAULT
        )
        print_engine(result, table_console())
    if json_file:
        write_json(json_file, result)
