"""SIGTERM under load: what was accepted is answered, what comes later is told to go elsewhere."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml
from support.serve_command import PATIENCE_S, free_port, own_environment, serving

from cluster.serving.config_file import LOCAL

pytestmark = [pytest.mark.ray, pytest.mark.slow]


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
