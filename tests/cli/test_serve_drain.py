"""SIGTERM under load: what was accepted is answered, what comes later is told to go elsewhere.

Both doors: requests over HTTP, and a trainer's calls to its client actor. The one replica is frozen
from before the first of them until the doors are shut, so that all of them are under way meanwhile.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from support.ports import free_port
from support.processes import frozen
from support.serve_command import PATIENCE_S, Serving, own_environment, serving

from cluster.serving.deployment.serve_config import LOCAL

pytestmark = [pytest.mark.ray, pytest.mark.slow]

N_REQUESTS, N_CALLS, N_TOKENS = 59, 100, 101
TRAINER = f"""
import numpy as np, ray
from cluster.errors import NotReady
from cluster.serving.client.connect import connect
from cluster.serving.status import snapshot
from cluster.types import Score

def ids(first):
    return np.array([first, *range({N_TOKENS - 1})], np.int32)

def n_inside():
    queue = snapshot("reward").queue
    return 0 if queue is None else queue.queued_tokens + queue.running_tokens

def is_refused(late):
    return isinstance(ray.get(late)[0], NotReady)

client = connect()
ray.get(client.ready.remote())
print("ready", flush=True)
input()
refs = [client.score.remote([ids(first)]) for first in range(300, 300 + {N_CALLS})]
while n_inside() < {(N_REQUESTS + N_CALLS) * N_TOKENS}:
    pass
print("under way", flush=True)
while not is_refused(client.score.remote([ids(1)], deadline_s=0.2)):
    pass
streamed = client.score_stream.options(num_returns="streaming").remote([ids(2)])
assert isinstance(ray.get(next(streamed))[1], NotReady)
print("refused", flush=True)
answers = [item for items in ray.get(refs) for item in items]
print("scored", sum(isinstance(item, Score) for item in answers), flush=True)
"""


def config_file(folder: Path, port: int) -> Path:
    """One fake GPU, which takes as good as no time."""
    values = yaml.safe_load(LOCAL.read_text())
    values["http_options"]["port"] = port
    app = values["applications"][0]
    app["args"] |= {
        "engine": {"model": "tiny", "device": "cpu", "token_budget": 200},
        "replica": {"backend": "sleep", "fake_gpu": {"flops_per_token": 1e-9, "flops": 1.0}},
    }
    app["deployments"][0]["health_check_timeout_s"] = PATIENCE_S  # a frozen one is not replaced
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def process_of(part: str, service: Serving) -> int:
    """The pid of the one process of a deployment."""
    found: list[int] = [
        child.pid
        for child in psutil.Process(service.process.pid).children(recursive=True)
        if f":{part}" in "".join(child.cmdline()[:1])
    ]
    assert len(found) == 1, found
    return found[0]


def scoring(port: int) -> Callable[..., httpx.Response]:
    def score(first: int, **terms: float) -> httpx.Response:
        body = {"conversations": [{"ids": [first, *range(N_TOKENS - 1)]}], **terms}
        url = f"http://127.0.0.1:{port}/v1/score"
        return httpx.post(url, json=body, timeout=PATIENCE_S)

    return score


class Trainer:
    """A program in the service's Ray, see TRAINER; it ends with the block at the latest."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        script, pipe = folder / "trainer.py", subprocess.PIPE
        script.write_text(TRAINER)
        command = [sys.executable, str(script)]
        self._process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def go_on(self) -> None:
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)

    def said(self, line: str) -> None:
        """Waits until it has."""
        assert self._process.stdout is not None
        assert any(said == f"{line}\n" for said in self._process.stdout), f"it never said: {line}"

    def has_ended(self) -> None:
        assert self._process.wait(PATIENCE_S) == 0


def test_what_was_accepted_is_answered_and_what_comes_later_refused(tmp_path: Path) -> None:
    env, port = own_environment(tmp_path), free_port()
    arguments: list[str | Path] = [config_file(tmp_path, port), f"--drain={PATIENCE_S}"]
    score = scoring(port)
    with (
        serving(arguments, env, tmp_path / "log") as service,
        Trainer(tmp_path, env) as trainer,
        ThreadPoolExecutor(N_REQUESTS) as pool,
    ):
        assert score(0).status_code == 200
        trainer.said("ready")
        with frozen(process_of("Replica", service)):
            asked = [pool.submit(score, first) for first in range(1, N_REQUESTS + 1)]
            trainer.go_on()
            trainer.said("under way")
            service.process.send_signal(signal.SIGTERM)
            for first in itertools.count(200):  # let in, and late, until the door is shut
                late = score(first, deadline_s=0.2)
                if late.status_code != 504:
                    break
            assert (late.status_code, late.json()["error"]["code"]) == (503, "not_ready")
            trainer.said("refused")
        assert [each.result().status_code for each in asked] == [200] * N_REQUESTS
        trainer.said(f"scored {N_CALLS}")
        trainer.has_ended()
        assert service.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in service.log
        assert "unanswered" not in service.log


def test_a_batcher_that_does_not_answer_is_waited_for_and_named(tmp_path: Path) -> None:
    arguments: list[str | Path] = [config_file(tmp_path, free_port()), "--drain=1"]
    with serving(arguments, own_environment(tmp_path), tmp_path / "log") as service:
        with frozen(process_of("Batcher", service)):
            assert service.end() == 0
        assert "with this unanswered: no answer from Batcher" in service.log
