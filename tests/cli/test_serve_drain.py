"""SIGTERM under load: what was accepted is answered, what comes later is told to go elsewhere.

Both doors: requests over HTTP, and a trainer's calls to its client actor.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from support.ports import free_port
from support.processes import frozen
from support.serve_command import PATIENCE_S, Serving, own_environment, run, serving
from support.serving import until

from cluster.serving.batching.replica_pool import MAX_BATCHES_PER_REPLICA
from cluster.serving.deployment.serve_config import LOCAL

pytestmark = [pytest.mark.ray, pytest.mark.slow]
N_REQUESTS, N_CALLS, N_TOKENS = 40, 60, 101
TRAINER = """
import numpy as np, ray, sys
from cluster.errors import NotReady
from cluster.serving.client.connect import connect
from cluster.types import Score

n_calls, n_tokens = map(int, sys.argv[1:])

def ids(first):
    return np.array([first, *range(n_tokens - 1)], np.int32)

client = connect()
ray.get(client.score.remote([ids(999)]))
print("ready", flush=True)
sys.stdin.readline()
refs = [client.score.remote([ids(1000 + first)]) for first in range(n_calls)]
sys.stdin.readline()
# What is still accepted is not answered now.
while not isinstance(ray.get(client.score.remote([ids(201)], deadline_s=2.0))[0], NotReady):
    pass
streamed = client.score_stream.options(num_returns="streaming").remote([ids(202)])
assert isinstance(ray.get(next(streamed))[1], NotReady)
print("refused", flush=True)
answers = [item for items in ray.get(refs) for item in items]
print("scored", sum(isinstance(item, Score) for item in answers), flush=True)
"""


class Trainer:
    """The script as a process that says and is told lines."""

    def __init__(self, script: Path, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(N_CALLS), str(N_TOKENS)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def says(self) -> str:
        """The next line; empty where it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def quick_config(folder: Path, port: int) -> Path:
    """A fake GPU that takes no time."""
    values = yaml.safe_load(LOCAL.read_text())
    values["http_options"]["port"] = port
    values["applications"][0]["args"] |= {
        "engine": {"model": "tiny", "device": "cpu", "token_budget": N_TOKENS},
        "replica": {"backend": "sleep", "fake_gpu": {"flops_per_token": 1e-6, "flops": 1.0}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def replica_of(service: Serving) -> int:
    """The process of its only replica."""
    children = psutil.Process(service.process.pid).children(recursive=True)
    title = "ServeReplica:reward:Replica"
    (found,) = [each for each in children if title in " ".join(each.cmdline())]
    return int(found.pid)


def test_what_was_accepted_is_answered_and_what_comes_later_refused(tmp_path: Path) -> None:
    """The replica is stopped meanwhile, so that nothing is done before the doors are shut."""
    port, env = free_port(), own_environment(tmp_path)
    url = f"http://127.0.0.1:{port}"
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)

    def score(first: int, timeout_s: float = PATIENCE_S) -> httpx.Response:
        items = [{"ids": [first, *range(N_TOKENS - 1)]}]
        return httpx.post(f"{url}/v1/score", json={"conversations": items}, timeout=timeout_s)

    def all_accepted() -> bool:
        looked = run(["status", "--once", "--json", "--interval=0.1"], env)
        assert looked.returncode == 0, looked.stderr
        queue = json.loads(looked.stdout.splitlines()[-1])["queue"]
        waiting = N_REQUESTS + N_CALLS - MAX_BATCHES_PER_REPLICA  # of one each, by the budget
        return bool(queue and queue["queued_tokens"] == waiting * N_TOKENS)

    def refused() -> bool:
        """What is still accepted is not answered now; its caller leaves."""
        try:
            answer = score(200, timeout_s=2.0)
        except httpx.ReadTimeout:
            return False
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        return True

    arguments: list[str | Path] = [quick_config(tmp_path, port), f"--drain={2 * PATIENCE_S}"]
    with (
        serving(arguments, env, tmp_path / "log") as service,
        ThreadPoolExecutor(N_REQUESTS) as pool,
    ):
        assert score(0).status_code == 200  # a process takes its tokenizer from a replica
        with Trainer(script, env) as trainer:
            assert trainer.says() == "ready"
            with frozen(replica_of(service)):
                asked = [pool.submit(score, first) for first in range(1, N_REQUESTS + 1)]
                trainer.tell("go")
                until(all_accepted)
                service.process.send_signal(signal.SIGTERM)
                trainer.tell("the end has begun")
                until(refused)
                assert trainer.says() == "refused"
                assert not any(each.done() for each in asked)
            assert [each.result().status_code for each in asked] == [200] * N_REQUESTS
            assert trainer.says() == f"scored {N_CALLS}"
        assert service.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in service.log
