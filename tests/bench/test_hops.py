"""Hops of a request: time stamps in, milliseconds between them out; every traced point exists."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from cluster.bench.hops.cpu_time import TITLES, cpu_seconds
from cluster.bench.hops.hops import HOPS, ORDER, Stamp, hops, of_request, parse_stamps
from cluster.bench.hops.trace import FILE, POINTS

INSIDE = ORDER[1:-1]


def test_a_hop_is_the_time_between_two_events() -> None:
    stamps = [Stamp(1_000_000 * i, event) for i, event in enumerate(INSIDE, 1)]
    end = 1_000_000 * (len(INSIDE) + 3)
    times = of_request(stamps, 0, end)
    assert times is not None
    found = hops([times, times])
    assert [hop.median_ms for hop in found] == [1.0] * len(INSIDE) + [3.0]
    assert sum(hop.median_ms for hop in found) == end / 1e6
    assert [hop.is_forward for hop in found].count(True) == 1


def test_stamps_of_other_requests_are_left_out_and_a_retry_is_not_counted() -> None:
    stamps = [Stamp(10 + i, event) for i, event in enumerate(INSIDE)]
    later = [Stamp(1_000 + i, event) for i, event in enumerate(INSIDE)]
    assert of_request(stamps + later, 0, 500) is not None
    assert of_request(stamps + later, 0, 5_000) is None, "every event is there twice"
    assert of_request(stamps[1:], 0, 500) is None


def test_every_event_belongs_to_a_point() -> None:
    named = {event.split(".")[0] for event, _, _ in HOPS} - {"client"}
    assert named == set(POINTS)


def test_wrapped_calls_leave_a_line_at_both_ends(tmp_path: Path) -> None:
    """In a process of its own: `install` changes the classes for good."""
    program = (
        "from cluster.bench.hops.trace import install; install()\n"
        "from cluster.serving.batching.in_flight import InFlight\n"
        "import asyncio\n"
        "try: asyncio.run(InFlight.answer(None, None, 'x', None))\n"
        "except BaseException: pass\n"
    )
    file = tmp_path / "stamps"
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={FILE: str(file), "PATH": ""}, timeout=300
    )
    assert [event for _, event in parse_stamps(file.read_text())] == [
        "dispatch.start",
        "dispatch.end",
    ]


def test_cpu_time_is_that_of_the_processes_with_a_roles_title() -> None:
    program = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    title = f"{TITLES['batcher']}.score_bytes"
    titled = subprocess.Popen(
        [title, "-c", program],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with titled:
        assert titled.stdout is not None
        titled.stdout.readline()
        spent = cpu_seconds()
        titled.communicate(b"\n")
    assert list(spent) == ["batcher"]
    assert spent["batcher"] > 0.2


def test_every_point_is_a_function_of_the_service() -> None:
    for module, path in POINTS.values():
        found: object = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
        assert callable(found)
