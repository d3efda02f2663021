"""SIGTERM under load: what was accepted is answered, what comes later is told to go elsewhere.

Both doors: requests over HTTP, and a trainer's calls to its client actor.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml
from support.ports import free_port
from support.serve_command import PATIENCE_S, own_environment, serving

from cluster.serving.deployment.serve_config import LOCAL

pytestmark = [pytest.mark.ray, pytest.mark.slow]


TRAINER = """
import numpy as np, ray
from cluster.errors import NotReady
from cluster.serving.client.connect import connect
from cluster.types import Score

def ids(first):
    return np.array([first, *range(100)], np.int32)

client = connect()
refs = [client.score.remote([ids(first)]) for first in range(1, 101)]
ray.wait(refs)
print("under way", flush=True)
while not isinstance(ray.get(client.score.remote([ids(200)]))[0], NotReady):
    pass
streamed = client.score_stream.options(num_returns="streaming").remote([ids(201)])
assert isinstance(ray.get(next(streamed))[1], NotReady)
answers = [item for items in ray.get(refs) for item in items]
print("scored", sum(isinstance(item, Score) for item in answers), flush=True)
"""


def slow_config(folder: Path, port: int) -> Path:
    """A fake GPU that takes a millisecond per token."""
    values = yaml.safe_load(LOCAL.read_text())
    values["http_options"]["port"] = port
    values["applications"][0]["args"] |= {
        "engine": {"model": "tiny", "device": "cpu", "token_budget": 200},
        "replica": {"backend": "sleep", "fake_gpu": {"flops_per_token": 1e-3, "flops": 1.0}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_accepted_requests_are_answered_and_later_ones_refused(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def score(first: int) -> httpx.Response:
        items = [{"ids": [first, *range(100)]}]
        return httpx.post(f"{url}/v1/score", json={"conversations": items}, timeout=PATIENCE_S)

    with (
        serving(
            [slow_config(tmp_path, port)], own_environment(tmp_path), tmp_path / "log"
        ) as service,
        ThreadPoolExecutor(60) as pool,
    ):
        assert score(0).status_code == 200
        asked = [pool.submit(score, first) for first in range(1, 60)]
        while not any(each.done() for each in asked):
            time.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        while httpx.get(f"{url}/readyz", timeout=PATIENCE_S).status_code == 200:
            time.sleep(0.05)
        late = score(200)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "not_ready")
        assert [each.result().status_code for each in asked] == [200] * len(asked)
        assert service.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in service.log


def test_a_trainers_calls_are_answered_and_later_ones_refused(tmp_path: Path) -> None:
    script, env = tmp_path / "trainer.py", own_environment(tmp_path)
    script.write_text(TRAINER)
    arguments: list[str | Path] = [slow_config(tmp_path, free_port()), f"--drain={PATIENCE_S}"]
    with (
        serving(arguments, env, tmp_path / "log") as service,
        subprocess.Popen([sys.executable, script], env=env, stdout=subprocess.PIPE) as trainer,
    ):
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == b"under way\n"
        service.process.send_signal(signal.SIGTERM)
        rest, _ = trainer.communicate(timeout=PATIENCE_S)
        assert b"scored 100" in rest
        assert trainer.returncode == 0
        assert service.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in service.log
