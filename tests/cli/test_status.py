"""What `reward-cluster status` shows, from snapshots made by hand."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter

import pytest
from click.testing import CliRunner
from rich.console import Console
from support.model_info import model_info

from cluster.cli import main
from cluster.cli.status import as_record
from cluster.serving.batching.queue_state import QueueState
from cluster.serving.metrics import ServingMetrics, Totals
from cluster.serving.status import Deployment, Snapshot, throughput
from cluster.serving.status_table import status_view
from cluster.types import PromptCacheStats

MODEL = model_info(model="some/model", revision="abc123", device="cuda:0")


def look(at: float, totals: Totals | None) -> Snapshot:
    return Snapshot(
        app="reward",
        status="RUNNING",
        message="",
        at=at,
        deployments=(Deployment("Replica", "HEALTHY", {"RUNNING": 2, "STARTING": 1}),),
        models=(MODEL, MODEL),
        queue=QueueState(12, 3456, 789, 1000.0),
        totals=totals,
        prompts=PromptCacheStats(
            hits=7, misses=3, hit_tokens=2100, prompts=3, bytes=2**20, max_bytes=2**23
        ),
    )


def totals(batches: int, tokens: int) -> Totals:
    metrics = ServingMetrics()
    metrics.batch_done(1, 0.0, 0.0, [1.0, 3.0])
    return dataclasses.replace(
        metrics.totals,
        batches=batches,
        items=batches * 2,
        tokens=tokens,
        saved_tokens=tokens // 4,
        forward_s=batches * 0.5,
        retries=1,
        errors=Counter(too_long=batches),
    )


def test_weights_that_were_refused_are_shown_beside_those_that_serve() -> None:
    failed = dataclasses.replace(MODEL, load_error="ModelRefused: no such revision")
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(status_view(dataclasses.replace(look(1.0, None), models=(MODEL, failed)), None))
    assert "no such revision" in console.export_text()


def test_throughput_is_the_difference_of_two_looks() -> None:
    done = throughput(look(10.0, totals(4, 400)), look(12.0, totals(10, 1600)))
    assert done is not None
    assert done.seconds == 2
    assert done.items_per_s == 6
    assert done.tokens_per_s == 600
    assert done.batches_per_s == 3
    assert done.tokens_per_batch == 200
    assert done.saved_share == 0.25
    assert done.busy_replicas == 1.5
    assert done.errors == {"too_long": 6}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, totals(1, 10)),
        (totals(1, 10), None),
        (totals(5, 50), totals(1, 10)),  # the batcher began anew in between
    ],
)
def test_throughput_is_unknown_where_the_totals_do_not_belong_together(
    old: Totals | None, new: Totals | None
) -> None:
    assert throughput(look(0.0, old), look(1.0, new)) is None


def test_an_idle_service_has_a_throughput_of_zero() -> None:
    done = throughput(look(0.0, totals(3, 30)), look(1.0, totals(3, 30)))
    assert done is not None
    assert (done.tokens_per_s, done.tokens_per_batch, done.saved_share) == (0, 0, 0)


def test_the_table_names_replicas_queue_throughput_and_errors() -> None:
    now = look(12.0, totals(10, 1600))
    console = Console(record=True, width=120)
    console.print(status_view(now, throughput(look(10.0, totals(4, 400)), now)))
    text = console.export_text()
    for part in (
        "reward RUNNING",
        "2 running, 1 starting",
        "some/model",
        "abc123",
        "12 chats, 3,456 tokens",
        "6.0 chats/s, 600 tokens/s",
        "25.0%",
        "10 too_long",
        "2.000 ± 1.000",
        "3, 1 of 8 MiB",
        "7 of 10",
        "2,100",
    ):
        assert part in text, part


def test_a_service_that_does_not_answer_still_has_its_status_shown() -> None:
    console = Console(record=True, width=80)
    console.print(status_view(Snapshot("reward", "DEPLOYING", "one moment", 0.0), None))
    assert "reward DEPLOYING one moment" in console.export_text()


def test_the_record_is_json_and_holds_the_same() -> None:
    now = look(12.0, totals(10, 1600))
    record = json.loads(json.dumps(as_record(now, None)))
    assert record["queue"]["queued_tokens"] == 3456
    assert record["totals"]["rewards"]["mean"] == 2
    assert record["throughput"] is None


def test_without_a_ray_cluster_the_command_says_how_to_get_one() -> None:
    result = CliRunner().invoke(main, ["status", "--once", "--address", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert "reward-cluster serve" in result.output
