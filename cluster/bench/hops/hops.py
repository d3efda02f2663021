"""Hops of a request, from the time stamps of all processes.

Pure: knows nothing of Ray or files.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

SENT, RECEIVED = "client.start", "client.end"
FORWARD = "engine.end"
"""The event that ends the hop of the engine's forward."""
HOPS: tuple[tuple[str, str, str], ...] = (
    ("proxy.start", "client -> proxy", "JSON of the body, connection, Serve's HTTP server"),
    (
        "ingress.start",
        "proxy -> Ingress",
        "routing, choice of an Ingress, actor call with the body",
    ),
    ("scorer.start", "in the Ingress", "key, body, parsing"),
    ("submit.start", "in the Ingress", "chat template and tokens, or a check of ids"),
    ("batcher.start", "Ingress -> batcher", "actor call with the ids"),
    ("dispatch.start", "in the batcher", "admission, choice of a replica, cut of the batch"),
    ("replica.start", "batcher -> replica", "actor call with the batch"),
    ("engine.start", "in the replica", "hand-over to the device's thread"),
    (FORWARD, "in the replica", "the engine: packing and forward"),
    ("replica.end", "in the replica", "metrics, back from the device's thread"),
    ("dispatch.end", "replica -> batcher", "answer of the actor call"),
    ("batcher.end", "in the batcher", "results to their calls, metrics"),
    ("submit.end", "batcher -> Ingress", "answer of the actor call"),
    ("ingress.end", "in the Ingress", "JSON of the answer, log line"),
    (RECEIVED, "Ingress -> proxy -> client", "the answer, HTTP, parsing"),
)
"""Event that ends the hop, between which processes it is, what happens in it; in the order of a
request."""
ORDER = (SENT, *(event for event, _, _ in HOPS))


class Stamp(NamedTuple):
    """An event and when it happened, in nanoseconds."""

    at: int
    event: str


@dataclass(frozen=True, slots=True)
class Hop:
    """Median and 90th percentile of a hop over the requests, in milliseconds."""

    between: str
    what: str
    median_ms: float
    p90_ms: float
    is_forward: bool


def parse_stamps(text: str) -> list[Stamp]:
    """The stamps in a file that `trace` has written."""
    fields = (line.split() for line in text.splitlines())
    return [Stamp(int(at), event) for at, event in fields]


def of_request(stamps: Sequence[Stamp], sent: int, received: int) -> list[int] | None:
    """When each event of `ORDER` happened, in nanoseconds, in the only request between two times.

    sent, received: nanoseconds.  None if an event is missing or there twice, as after a retry.
    """
    found = {SENT: [sent], RECEIVED: [received]}
    for at, event in stamps:
        if sent <= at <= received:
            found.setdefault(event, []).append(at)
    times = [found.get(event, []) for event in ORDER]
    return [each[0] for each in times] if all(len(each) == 1 for each in times) else None


def hops(requests: Sequence[Sequence[int]]) -> list[Hop]:
    """Every hop over all `requests`, at least one, each as `of_request` returns it."""
    found = []
    for i, (event, between, what) in enumerate(HOPS):
        took = sorted((times[i + 1] - times[i]) / 1e6 for times in requests)
        p90 = took[min(len(took) - 1, 9 * len(took) // 10)]
        found.append(Hop(between, what, statistics.median(took), p90, event == FORWARD))
    return found
