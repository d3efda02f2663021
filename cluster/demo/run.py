"""Demo run: a file of chats scored through the actor client on a local cluster, and printed.

The processes and the messages between them are real; only the size is small.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from cluster.config import ClusterConfig, EngineConfig
from cluster.demo.chats import packaged_chats, read_demo_groups
from cluster.demo.tables import Item, agreement, reward_table, summary
from cluster.engine.checkpoint import EMBEDDED
from cluster.serving.deployment.foreground import wait_until_signalled
from cluster.serving.deployment.local_cluster import local_service
from cluster.types import Score

PLACEHOLDER = """\
The built-in model sees plain damage and knows nothing: name one to judge by with --model."""
NEXT = """
Next:
  reward-cluster score chats.jsonl --out scored.jsonl   your own chats, from a file
  reward-cluster verify --model HUB_ID                  another model, checked before use"""
NEXT_UNLESS_KEPT = """\
  reward-cluster demo --keep                            this service, left up, with a page to try"""


def run_demo(
    source: Path | None,
    engine: EngineConfig,
    console: Console,
    http_port: int | None = None,
) -> bool:
    """Score every group of `source` (None: the packaged file) and print the results.

    http_port: on 127.0.0.1; the service then stays up until SIGINT or SIGTERM. Returns whether
    every response has a reward. Raises InvalidInput for a bad row.
    """
    groups = list(read_demo_groups(source or packaged_chats()))
    console.print("Starting a local Ray with one replica, the batcher and a client actor ...")
    started = time.perf_counter()
    with local_service(ClusterConfig(engine=engine), http_port=http_port) as client:
        remote: Any = client
        ray.get(remote.ready.remote())
        console.print(f"Ready after {time.perf_counter() - started:.1f} s.\n")
        sent = time.perf_counter()
        futures = [remote.score.remote(group.conversations) for group in groups]
        results: list[list[Item]] = ray.get(futures)
        seconds = time.perf_counter() - sent
        console.print(reward_table(groups, results))
        console.print(summary(results, seconds))
        if any(group.person is not None for group in groups):
            console.print(agreement(groups, results))
        if engine.model in EMBEDDED:
            console.print(PLACEHOLDER, highlight=False)
        console.print(NEXT, highlight=False, soft_wrap=True)
        if http_port is None:
            console.print(NEXT_UNLESS_KEPT, highlight=False)
        else:
            console.print(f"\nThe service stays up at http://127.0.0.1:{http_port}/ until Ctrl-C.")
            wait_until_signalled()
    return all(isinstance(item, Score) for items in results for item in items)
