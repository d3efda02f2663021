"""`reward-cluster bench`: speed as ratios within one run."""

from __future__ import annotations

import click

from cluster.cli.bench.cluster import cluster
from cluster.cli.bench.dialects import dialects
from cluster.cli.bench.engine import engine
from cluster.cli.bench.training import training


@click.group()
def bench() -> None:
    """Measure speed as ratios within one run, since machines differ and are noisy."""


bench.add_command(engine)
bench.add_command(cluster)
bench.add_command(training)
bench.add_command(dialects)
