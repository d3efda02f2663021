"""A hub that does not answer is told of at once, and is never asked for what is here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster.config import EngineConfig
from cluster.engine import checkpoint, hub
from cluster.errors import ModelRefused

CODE = """
from cluster.config import EngineConfig
from cluster.engine.offline import OfflineScorer
OfflineScorer.load(EngineConfig(model="nobody/nothing"))
"""


@pytest.mark.slow
def test_a_hub_that_hangs_up_is_not_asked_again_and_again(tmp_path: Path) -> None:
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                calls.append(connection)
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        place = f"http://127.0.0.1:{listening.getsockname()[1]}"
        env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": place, "HF_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=False
        )
        listening.shutdown(socket.SHUT_RDWR)
    assert f"{place} cannot be reached" in done.stderr
    assert len(calls) < 6  # its own client would try that often for each file


def test_what_is_cached_is_loaded_from_here_and_what_is_not_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = EngineConfig(model="nobody/nothing")
    monkeypatch.setattr(hub, "_asked", lambda *_: "the hub cannot be reached")
    with pytest.raises(ModelRefused, match="not on this machine, and the hub cannot be reached"):
        checkpoint.refuse_unreachable(config)
    monkeypatch.setattr(checkpoint, "is_cached", lambda *_: True)
    checkpoint.refuse_unreachable(config)
    assert checkpoint.loading_options(config)["local_files_only"]


def test_a_folder_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(hub, "_asked", asked)
    assert "local_files_only" not in checkpoint.loading_options(EngineConfig(model="tiny"))
