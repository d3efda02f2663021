"""`reward-cluster demo --keep` as its user runs it: a table, a page, and Ctrl-C ends it."""

import re
import signal
from pathlib import Path

import httpx
import pytest
from support.serve_command import own_environment, serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_the_demo_counts_a_persons_choices_and_is_kept_until_ctrl_c(tmp_path: Path) -> None:
    env, out = own_environment(tmp_path), tmp_path / "demo.log"
    with serving(["--keep"], env, out, command="demo", says="until Ctrl-C.") as kept:
        assert "30 of 30 responses scored by tiny" in kept.log
        assert re.search(r"^\d+ of 10 as a person would choose\.$", kept.log, re.M)
        assert "knows nothing: name one to judge by with --model" in kept.log
        (url,) = re.findall(r"http://127\.0\.0\.1:\d+/", kept.log)
        assert httpx.get(url).headers["content-type"].startswith("text/html")
        assert kept.end(signal.SIGINT) == 0
