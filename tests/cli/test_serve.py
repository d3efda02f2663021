"""A service and its callers as separate programs of one user, with tokens on and nothing exported.

The commands and the script of the README are run as they stand there.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from click.testing import CliRunner
from support.ports import free_port
from support.serve_command import PATIENCE_S, Serving, own_environment, run, serving

from cluster.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def env(home: Path) -> dict[str, str]:
    return own_environment(home)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def service(env: dict[str, str], home: Path, port: int) -> Iterator[Serving]:
    with serving(["--local", f"--port={port}"], env, home / "serve.log") as made:
        yield made


def block(language: str, containing: str) -> str:
    """The README's code block of `language` that contains a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)
    (found,) = [text for text in blocks if containing in text]
    return str(found)


def test_the_service_says_where_it_is_and_who_may_call(service: Serving, port: int) -> None:
    (line,) = re.findall(r"^Serving .*", service.log, re.M)
    assert line.startswith(f"Serving on http://127.0.0.1:{port}, open, no keys, Ray at ")
    assert line.endswith("Ctrl-C ends it.")


def test_the_script_of_the_readme_gets_its_rewards(
    service: Serving, env: dict[str, str], home: Path
) -> None:
    script = home / "trainer.py"
    script.write_text(block("python", "connect()"))
    done = run([script], env, program=[sys.executable])
    assert done.returncode == 0, done.stderr
    rewards = [float(line) for line in done.stdout.splitlines() if re.fullmatch(r"-?\d.*", line)]
    assert len(rewards) == 2
    assert rewards[0] > rewards[1]


def test_the_request_of_the_readme_is_answered_as_it_says(service: Serving, port: int) -> None:
    text = block("console", "curl -s")
    command = re.search(r"curl -s localhost:8000(\S+) .*? -d (\'.*?\')", text, re.S)
    assert command is not None
    (body,) = shlex.split(command[2])
    url = f"http://127.0.0.1:{port}{command[1]}"
    answer = httpx.post(url, json=json.loads(body), timeout=PATIENCE_S)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [(r["item"], r.get("response")) for r in results] == [(0, 0), (0, 1), (1, None)]
    assert results[2]["error"]["message"] in " ".join(text.split())


def test_status_finds_the_service(service: Serving, env: dict[str, str]) -> None:
    done = run(["status", "--once", "--json", "--interval=0.1"], env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["models"][0]["model"] == "tiny"


def test_a_data_set_is_annotated_by_the_service(
    service: Serving, env: dict[str, str], home: Path
) -> None:
    (home / "in.jsonl").write_text(
        '{"prompt": "What is 7 + 5?", "responses": ["12", "Bananas."]}\n'
    )
    done = run(["annotate", home / "in.jsonl", home / "out.jsonl", "--app", "reward"], env)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((home / "out.jsonl").read_text())["rewards"]) == 2


def test_an_app_that_is_not_there_is_told_with_those_that_are(
    service: Serving, env: dict[str, str], home: Path
) -> None:
    done = run(["annotate", home / "in.jsonl", home / "none.jsonl", "--app", "rewards"], env)
    assert done.returncode == 2
    assert "no application 'rewards'" in done.stderr
    assert "which serves reward;" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_service_on_the_port_is_refused(
    service: Serving, env: dict[str, str], port: int
) -> None:
    done = run(["serve", "--local", f"--port={port}"], env)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"port {port} of 127.0.0.1 cannot be used" in done.stderr
    url = f"http://127.0.0.1:{port}/v1/model"
    answers = [httpx.get(url, timeout=PATIENCE_S) for _ in range(10)]
    assert len({answer.json()["revision"] for answer in answers}) == 1


def test_sigterm_ends_it_cleanly_and_nothing_finds_it_afterwards(
    service: Serving, env: dict[str, str], home: Path
) -> None:
    children = psutil.Process(service.process.pid).children(recursive=True)
    assert children
    assert service.end() == 0
    assert "press Ctrl-C again to stop now" in service.log
    assert "Traceback" not in service.log
    assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []
    assert not list((home / "tmp").glob("reward-cluster-*/*.json"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--local", "serve_config.yaml"], "give a CONFIG, or --local"),
        ([], "give a CONFIG, or --local"),
        (["serve_config.yaml", "--port", "0"], "--port"),
    ],
)
def test_wrong_usage_is_told(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    monkeypatch.chdir(REPOSITORY)
    done = CliRunner().invoke(main, ["serve", *arguments])
    assert done.exit_code == 2
    assert named in done.output


def test_a_check_says_who_may_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_CLUSTER_KEYS", "a,b")
    done = CliRunner().invoke(main, ["serve", "--local", "--check"])
    assert done.exit_code == 0
    assert "valid; 2 keys" in done.output


def test_without_a_gpu_the_shipped_config_ends_with_the_remedy(env: dict[str, str]) -> None:
    port = free_port()
    done = run(["serve", REPOSITORY / "serve_config.yaml", f"--port={port}"], env)
    assert done.returncode == 2
    assert "reward-cluster serve --local" in done.stderr
    assert "Traceback" not in done.stderr
