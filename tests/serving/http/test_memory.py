"""What a request may take of the Ingress's memory: bounded whatever it asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.memory import KINDS

TESTS = Path(__file__).resolve().parents[2]
MIB = 2**20


def grown(kind: str) -> tuple[int, int, int]:
    """Status, bytes of the body, bytes by which a process of its own grew."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "support.memory", kind],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return found["status"], found["body_bytes"], found["grown_bytes"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_asks_for_too_many_tokens_is_refused_within_256_mib(kind: str) -> None:
    status, _, grown_bytes = grown(kind)
    assert status == 413
    assert grown_bytes < 256 * MIB


def test_a_small_body_that_asks_for_too_much_costs_nothing() -> None:
    _, body_bytes, grown_bytes = grown("long prompt, 4000 responses")
    assert body_bytes < MIB
    assert grown_bytes < 16 * MIB


def test_the_largest_request_of_chats_takes_at_most_32_times_its_body() -> None:
    status, body_bytes, grown_bytes = grown("chats")
    assert status == 200
    assert body_bytes > 7 * MIB
    assert grown_bytes < 32 * body_bytes
