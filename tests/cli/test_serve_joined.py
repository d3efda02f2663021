"""`reward-cluster serve` on a Ray that `ray start` carries: found, locked, and left as it is."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from support.ports import free_port
from support.serve_command import PATIENCE_S, own_environment, run, serving

from cluster.serving.deployment.serve_config import LOCAL

pytestmark = [pytest.mark.ray, pytest.mark.slow]
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of a user on a machine where `ray start --head` has been given."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # a socket's path must be short
    with_own = own_environment(tmp_path) | {"RAY_TMPDIR": str(folder)}
    ports = [f"--port={free_port()}", f"--ray-client-server-port={free_port()}"]
    quiet = ["--include-dashboard=false", "--disable-usage-stats", "--num-cpus=4"]
    out = tmp_path / "ray.log"
    with out.open("w") as log:
        process = subprocess.Popen(
            [*RAY, "start", "--head", "--block", *ports, *quiet],
            env=with_own,
            stdout=log,
            stderr=log,
        )
        try:
            end = time.monotonic() + PATIENCE_S
            while "Ray runtime started" not in out.read_text():
                assert process.poll() is None, out.read_text()
                assert time.monotonic() < end, out.read_text()
                time.sleep(0.1)
            yield with_own
        finally:
            own = psutil.Process(process.pid)
            for each in [*own.children(recursive=True), own]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()  # asked to end, Ray takes half a minute
            process.wait(PATIENCE_S)
            shutil.rmtree(folder, ignore_errors=True)


def test_a_service_on_a_started_ray_is_found_is_locked_and_stays(
    env: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    config = tmp_path / "config.yaml"
    values = yaml.safe_load(LOCAL.read_text())
    values["http_options"]["port"] = port
    config.write_text(yaml.safe_dump(values))
    url, key = f"http://127.0.0.1:{port}/v1/model", {"Authorization": "Bearer secret"}
    locked = env | {"REWARD_CLUSTER_KEYS": "secret"}
    with serving([config, "--address=auto"], locked, tmp_path / "serve.log") as service:
        assert "1 key, " in service.log
        assert "It keeps running after this command exits" in service.log
        assert service.end() == 0
        assert "Traceback" not in service.log
    assert httpx.get(url, timeout=PATIENCE_S).status_code == 401
    assert httpx.get(url, headers=key, timeout=PATIENCE_S).status_code == 200

    done = run(["status", "--once", "--json", "--interval=0.1"], env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "RUNNING"

    values["http_options"]["port"] = free_port()
    config.write_text(yaml.safe_dump(values))
    moved = run(["serve", config, "--address=auto"], locked)
    assert moved.returncode == 2
    assert "would ignore http_options" in moved.stderr
