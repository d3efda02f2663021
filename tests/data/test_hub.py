"""A hub that does not answer is told of at once, and is never asked for what is here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.http_server import behaving

from cluster.config import EngineConfig
from cluster.data import hub
from cluster.data.input_files import find_input
from cluster.engine import checkpoint
from cluster.errors import InvalidInput, ModelRefused
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.model_setup import load_starting_model

CACHED = "what is cached"
LOADS = {
    "a scorer": """
from cluster.config import EngineConfig
from cluster.engine.offline import OfflineScorer
OfflineScorer.load(EngineConfig(model="nobody/nothing"))
""",
    "a policy": """
from cluster.rlhf.policy.model import Policy
Policy.load("nobody/nothing")
""",
    "a model to train": """
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.model_setup import load_starting_model
load_starting_model(TrainConfig(model="nobody/nothing"))
""",
    CACHED: """
from pathlib import Path
from shutil import copytree
from cluster.data.hub import hub_problem
from huggingface_hub.constants import HF_HUB_CACHE
from cluster.config import EngineConfig
from cluster.engine.checkpoint import locate
from cluster.engine.offline import OfflineScorer
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.model_setup import load_starting_model
cache = Path(HF_HUB_CACHE, "models--some--model")
copytree(locate("tiny"), cache / "snapshots" / "abc")
(cache / "refs").mkdir()
(cache / "refs" / "main").write_text("abc")
OfflineScorer.load(EngineConfig(model="some/model"))
load_starting_model(TrainConfig(model="some/model"))
raise SystemExit(f"loaded; {hub_problem('some/model', None)}")
""",
    "a data set": """
from cluster.data.input_files import find_input
find_input("nobody/nothing").hub.stream()
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", LOADS)
def test_a_hub_that_hangs_up_is_not_asked_again_and_again(what: str, tmp_path: Path) -> None:
    calls = []

    def hang_up(connection: socket.socket) -> None:
        calls.append(connection)
        connection.close()

    with behaving(hang_up) as port:
        place = f"http://127.0.0.1:{port}"
        env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": place, "HF_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", LOADS[what]],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
    assert f"{place} cannot be reached" in done.stderr
    assert ("loaded; " in done.stderr) == (what == CACHED)
    assert len(calls) < 6  # its own client would try that often for each file


def test_what_is_cached_is_loaded_from_here_and_what_is_not_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = EngineConfig(model="nobody/nothing")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_asked", lambda *_: "the hub cannot be reached")
    with pytest.raises(ModelRefused, match="not on this machine, and the hub cannot be reached"):
        checkpoint.refuse_unreachable(config)
    monkeypatch.setattr(checkpoint, "is_cached", lambda *_: True)
    checkpoint.refuse_unreachable(config)
    assert checkpoint.loading_options(config)["local_files_only"]


def test_a_folder_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_asked", asked)
    assert "local_files_only" not in checkpoint.loading_options(EngineConfig(model="tiny"))


@pytest.mark.parametrize(
    "load",
    [Policy.load, lambda model: load_starting_model(TrainConfig(model=model))],
    ids=["policy", "starting model"],
)
def test_what_is_trained_is_refused_at_once_and_loaded_from_here_if_it_is_cached(
    monkeypatch: pytest.MonkeyPatch, load: Callable[[str], object]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_asked", lambda *_: "the hub cannot be reached")
    with pytest.raises(ModelRefused, match="not on this machine, and the hub cannot be reached"):
        load("nobody/nothing")
    monkeypatch.setattr(checkpoint, "is_cached", lambda *_: True)
    with pytest.raises(ModelRefused, match=r"no language model|tokenizer .* cannot be loaded"):
        load("nobody/nothing")


def test_a_data_set_of_a_hub_that_does_not_answer_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_asked", lambda *_: "the hub cannot be reached")
    named = find_input("nobody/nothing:test").hub
    assert named is not None
    for ask in (named.stream, named.splits):
        with pytest.raises(InvalidInput, match="is not a file here, and the hub cannot"):
            ask()
