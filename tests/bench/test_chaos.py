"""One minute of the soak, as a user runs it: its own Ray, its own processes."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.ray
@pytest.mark.slow
def test_a_minute_of_chaos_loses_nothing_and_shows_no_wrong_number() -> None:
    command = [sys.executable, "-m", "cluster", "chaos", "--minutes", "1", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "0 violations" in done.stdout
