"""What a request may take of the Ingress's memory: bounded whatever it asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.memory import KINDS

pytestmark = pytest.mark.slow
TESTS = Path(__file__).resolve().parents[2]
MIB = 2**20


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, int]]:
    """By kind of request: `status`, `body_bytes`, `grown_bytes`."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "support.memory"],
        env=os.environ | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {each.pop("kind"): each for each in found}


@pytest.mark.parametrize("kind", KINDS)
def test_what_asks_for_too_many_tokens_is_refused_within_256_mib(
    kind: str, measured: dict[str, dict[str, int]]
) -> None:
    assert measured[kind]["status"] == 413
    assert measured[kind]["grown_bytes"] < 256 * MIB


def test_a_small_body_that_asks_for_too_much_costs_nothing(
    measured: dict[str, dict[str, int]],
) -> None:
    found = measured["long prompt, 4000 responses"]
    assert found["body_bytes"] < MIB
    assert found["grown_bytes"] < 16 * MIB


def test_the_largest_request_of_chats_takes_at_most_32_times_its_body(
    measured: dict[str, dict[str, int]],
) -> None:
    found = measured["chats"]
    assert found["status"] == 200
    assert found["body_bytes"] > 7 * MIB
    assert found["grown_bytes"] < 32 * found["body_bytes"]
