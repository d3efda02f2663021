"""Trackers beside the JSONL log, read back from what they wrote."""

import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.cli import main
from cluster.errors import ConfigError
from cluster.rlhf.runs import trackers
from cluster.rlhf.runs.trackers import Trackers

ROWS = [{"step": n, "loss": 1.0 / n, "evaluation": {"accuracy": 0.5}} for n in (1, 2, 3)]


def scalars(folder: Path, name: str) -> dict[int, float]:
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    read = reader.EventAccumulator(str(folder))
    read.Reload()
    return {event.step: event.value for event in read.Scalars(name)}


@pytest.fixture
def tensorboard() -> None:
    pytest.importorskip("tensorboard")


@pytest.mark.usefixtures("tensorboard")
def test_tensorboard_has_the_numbers_of_every_row_by_their_path(tmp_path: Path) -> None:
    with Trackers(("tensorboard",), tmp_path, {"lr": 0.1, "loss": {"clip": None}}) as found:
        for row in ROWS:
            found.log(row)
    assert scalars(tmp_path / "tensorboard", "loss") == pytest.approx({1: 1, 2: 0.5, 3: 1 / 3})
    assert scalars(tmp_path / "tensorboard", "evaluation/accuracy")[3] == 0.5


@pytest.mark.usefixtures("tensorboard")
def test_a_resumed_run_supersedes_the_steps_after_its_checkpoint(tmp_path: Path) -> None:
    with Trackers(("tensorboard",), tmp_path, {}) as found:
        for row in ROWS:
            found.log(row)
    with Trackers(("tensorboard",), tmp_path, {}, done=1) as found:
        found.log({"step": 2, "loss": 7.0})
    assert scalars(tmp_path / "tensorboard", "loss") == {1: 1.0, 2: 7.0}


@pytest.mark.slow
def test_wandb_writes_into_the_folder_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with Trackers(("wandb",), tmp_path, {"lr": 0.1}) as found:
        for row in ROWS:
            found.log(row)
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"reward-cluster\[trackers\]"):
        Trackers(("wandb",), tmp_path, {})


@pytest.mark.parametrize("command", ["train", "ppo"])
def test_an_unknown_tracker_is_refused_by_every_command(tmp_path: Path, command: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("report_to: [visdom]\n")
    result = CliRunner().invoke(main, [command, str(config), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "tensorboard" in result.output
