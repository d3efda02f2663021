"""Examples as their reader runs them: each a process, beside one service of this module."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ports import free_port
from support.serve_command import PATIENCE_S, own_environment, serving

EXAMPLES = Path(__file__).resolve().parents[1] / "ops" / "examples"
MAX_LINES = 40
NUMBER = r"-?\d+\.\d+"

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def env(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of somebody on whose machine the built-in model is served."""
    folder = tmp_path_factory.mktemp("home")
    environment = own_environment(folder)
    with serving(["--local", "--port", str(port)], environment, folder / "serve.log"):
        yield environment


def run(name: str, env: dict[str, str], *arguments: str) -> str:
    """What the example prints; it must end well."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_ppo_trainer_gets_an_advantage_for_every_prompt(env: dict[str, str]) -> None:
    lines = run("ppo_trainer.py", env).splitlines()
    assert len(lines) == 6
    assert all(re.search(rf"advantage \+{NUMBER}$", line) for line in lines)


def test_the_async_trainer_gets_groups_and_a_stream(env: dict[str, str]) -> None:
    text = run("async_trainer.py", env)
    groups = re.findall(rf"^.* \[{NUMBER}, {NUMBER}, {NUMBER}\]$", text, re.M)
    streamed = re.findall(rf"^stream: .* {NUMBER}$", text, re.M)
    assert (len(groups), len(streamed)) == (3, 3), text


def test_the_http_client_gets_rewards_and_an_error_in_its_place(
    env: dict[str, str], port: int
) -> None:
    lines = run("http_client.py", env, f"http://127.0.0.1:{port}").splitlines()
    assert lines[0].startswith("tiny at local-")
    assert all(re.fullmatch(rf"\d {NUMBER}", line) for line in lines[1:4])
    assert lines[4].startswith("3 no reward: item 3: the conversation is empty")
    assert lines[5] == "lowest -100.0"


def test_offline_scoring_needs_no_service(tmp_path: Path) -> None:
    lines = run("offline_scoring.py", own_environment(tmp_path)).splitlines()
    assert len(lines) == 4
    assert all(re.search(rf": {NUMBER}$", line) for line in lines[1:])


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_fits_on_a_screen(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= MAX_LINES
