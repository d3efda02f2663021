"""Ray's own `serve run`, with a config that cannot work on this machine: it ends and says why."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.serve_command import free_port, own_environment, run

from cluster.serving.deployment.serve_run import is_serve_run

REPOSITORY = Path(__file__).resolve().parents[2]
SERVE_RUN = [sys.executable, "-m", "ray.serve.scripts", "run"]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """With a Ray folder of its own, so that no other Ray of this machine is joined."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # a socket's path must be short
    yield own_environment(tmp_path) | {"RAY_TMPDIR": str(folder)}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.ray
@pytest.mark.slow
def test_without_a_gpu_the_shipped_config_ends_with_the_remedy(
    env: dict[str, str], tmp_path: Path
) -> None:
    values = yaml.safe_load((REPOSITORY / "serve_config.yaml").read_text())
    values["http_options"]["port"] = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    done = run([config], env, program=SERVE_RUN)
    assert done.returncode != 0
    assert "reward-cluster serve --local" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "it_is"),
    [
        ("/usr/bin/python3 /venv/bin/serve run config.yaml", True),
        ("serve run config.yaml", True),
        ("python -m ray.serve.scripts run config.yaml", True),
        ("/usr/bin/python3 /venv/bin/serve deploy config.yaml", False),
        ("/usr/bin/python3 /venv/bin/reward-cluster serve config.yaml", False),
        ("python train.py --name serve run", False),
        ("", False),
    ],
)
def test_only_serve_run_is_taken_for_it(command: str, it_is: bool) -> None:
    assert is_serve_run(command.split()) is it_is
