"""Ray's own `serve run`, with a config that cannot work on this machine: it ends and says why."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import yaml
from support.ports import free_port
from support.serve_command import own_environment, run

from cluster.serving import serve_run
from cluster.serving.serve_run import is_serve_run

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


class Command:
    """A waiting `serve run`. got: the signals it was sent."""

    def __init__(self) -> None:
        self.got: list[int] = []

    def send_signal(self, number: int) -> None:
        self.got.append(number)


@pytest.mark.parametrize(
    ("mode", "serves", "got"),
    [
        (ray.WORKER_MODE, False, [signal.SIGTERM]),
        (ray.WORKER_MODE, True, []),  # a failed update: the command may carry the Ray that serves
        (ray.SCRIPT_MODE, False, []),  # built by the command itself, which sees the error
    ],
)
def test_the_command_is_ended_where_nothing_serves(
    monkeypatch: pytest.MonkeyPatch, mode: int, serves: bool, got: list[int]
) -> None:
    command = Command()
    context = SimpleNamespace(worker=SimpleNamespace(mode=mode))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(serve_run, "_anything_serves", lambda: serves)
    monkeypatch.setattr(serve_run, "_waiting_commands", lambda: [command])
    monkeypatch.setattr(serve_run, "TOLD_S", 0.0)
    serve_run.end_waiting_command("no GPU")
    assert command.got == got


def test_a_plain_process_that_builds_the_application_asks_no_ray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: pytest.fail("it would start a Ray"))
    serve_run.end_waiting_command("no GPU")
