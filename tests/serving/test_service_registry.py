from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cluster.errors import NotReady
from cluster.serving import ray_session, service_registry
from cluster.serving.service_registry import announced, folder, running


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_a_service_is_found_while_it_runs() -> None:
    assert running() == []
    with announced("10.0.0.1:6379", ["reward"], "http://127.0.0.1:8000"):
        (entry,) = running()
        assert (entry.address, entry.apps, entry.pid) == ("10.0.0.1:6379", ("reward",), os.getpid())
        assert "http://127.0.0.1:8000" in str(entry)
    assert running() == []


def test_a_service_that_was_killed_is_not_found_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, tempfile\n"
        "from cluster.serving.service_registry import announced\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "with announced('a:1', ['reward'], None):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(list(folder().iterdir())) == 1
    assert running() == []
    assert list(folder().iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_can_write_is_not_believed(mode: int) -> None:
    with announced("a:1", ["reward"], None):
        folder().chmod(mode)
        assert running() == []
        folder().chmod(0o700)
        assert len(running()) == 1


def test_a_link_to_another_folder_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder().symlink_to(tmp_path / "elsewhere")
    with announced("a:1", ["reward"], None):
        assert running() == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"address": 1}'])
def test_an_entry_that_cannot_be_read_is_left_out(text: str) -> None:
    with announced("a:1", ["reward"], None):
        next(folder().iterdir()).write_text(text)
        assert running() == []


def entries(monkeypatch: pytest.MonkeyPatch, **apps: str) -> None:
    made = [service_registry.Entry(at, (app,), None, 1) for app, at in apps.items()]
    monkeypatch.setattr(service_registry, "running", lambda: made)


def test_a_named_address_comes_first_then_the_environment_then_a_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries(monkeypatch, reward="here:1")
    assert ray_session.find_address() == "here:1"
    assert ray_session.find_address("auto") == "here:1"
    monkeypatch.setenv("RAY_ADDRESS", "env:1")
    assert ray_session.find_address() == "env:1"
    assert ray_session.find_address("given:1") == "given:1"


def test_of_several_services_the_one_with_the_app_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, reward="here:1", other="there:1")
    assert ray_session.find_address(app="other") == "there:1"
    with pytest.raises(NotReady, match=r"RAY_ADDRESS=here:1.*RAY_ADDRESS=there:1"):
        ray_session.find_address(app="third")


def test_an_address_at_which_nobody_answers_is_told_at_once() -> None:
    with pytest.raises(NotReady, match=r"no Ray answers at '127\.0\.0\.1:1'"):
        ray_session.auth_mode("127.0.0.1:1")
    with pytest.raises(NotReady, match="no Ray answers"):
        ray_session.auth_mode("nonsense")
