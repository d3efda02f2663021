"""Tables of `reward-cluster status`: deployments, models, queue and throughput."""

from __future__ import annotations

from collections import Counter

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.serving.status import Snapshot, Throughput


def status_view(now: Snapshot, done: Throughput | None) -> RenderableType:
    """Three small tables under one another."""
    color = "green" if now.status == "RUNNING" else "yellow"
    head = Text.assemble(now.app, " ", (now.status, color), f" {now.message}".rstrip())
    tables = (_deployments(now), _models(now), _numbers(now, done))
    return Group(head, *(table for table in tables if table.row_count))


def _deployments(now: Snapshot) -> Table:
    table = _table("deployment", "status", "replicas")
    for each in now.deployments:
        states = ", ".join(f"{n} {state.lower()}" for state, n in each.replicas.items())
        table.add_row(each.name, each.status, states)
    return table


def _models(now: Snapshot) -> Table:
    names = ["model", "revision", "device", "dtype", "numerics", "replicas"]
    if refused := any(model.load_error for model in now.models):
        names.append("requested weights failed to load")
    table = _table(*names)
    for model, count in Counter(now.models).items():
        row = [model.model, model.revision, model.device, model.dtype, model.numerics, str(count)]
        table.add_row(*row, *([model.load_error or ""] if refused else []))
    return table


def _numbers(now: Snapshot, done: Throughput | None) -> Table:
    table = _table("queue and throughput", "")
    queue, totals = now.queue, now.totals
    if queue is not None:
        table.add_row("waiting", f"{queue.queued_items:,} chats, {queue.queued_tokens:,} tokens")
        table.add_row("running", f"{queue.running_tokens:,} tokens")
        table.add_row("oldest item", f"{queue.oldest_s:.1f} s")
        table.add_row("last batch sent", f"{queue.since_dispatch_s:.1f} s ago")
        if queue.struck:
            table.add_row("unresponsive replicas", ", ".join(queue.struck))
    if done is not None:
        speed = f"{done.items_per_s:,.1f} chats/s, {done.tokens_per_s:,.0f} tokens/s"
        table.add_row(f"last {done.seconds:.1f} s", speed)
        table.add_row("tokens per batch", f"{done.tokens_per_batch:,.0f}")
        table.add_row("prefix tokens saved", f"{done.saved_share:.1%}")
        table.add_row("replicas busy", f"{done.busy_replicas:.2f}")
    if (kept := now.prompts) is not None and kept.max_bytes:
        held = f"{kept.prompts:,}, {kept.bytes / 2**20:,.0f} of {kept.max_bytes / 2**20:,.0f} MiB"
        table.add_row("cached prompts", held)
        table.add_row("prompt hits", f"{kept.hits:,} of {kept.hits + kept.misses:,}")
        table.add_row("tokens saved by hits", f"{kept.hit_tokens:,}")
    if totals is not None:
        table.add_row("since start", f"{totals.items:,} chats, {totals.tokens:,} tokens")
        table.add_row("batches retried", f"{totals.retries:,}")
        errors = ", ".join(f"{n:,} {code}" for code, n in totals.errors.most_common())
        table.add_row("errors", errors or "none")
        if (shape := totals.rewards) is not None:
            low, high = min(shape.quantiles.values()), max(shape.quantiles.values())
            spread = f"{shape.mean:.3f} ± {shape.std:.3f}, 98% in [{low:.3f}, {high:.3f}]"
            table.add_row("rewards", spread)
    return table


def _table(*names: str) -> Table:
    return Table(*names, box=box.SIMPLE_HEAD, pad_edge=False)
