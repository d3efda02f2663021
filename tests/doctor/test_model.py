"""The doctor's look at a checkpoint: what the engine refuses at load, found without weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster.config import EngineConfig
from cluster.doctor import model
from cluster.doctor.check import Check
from cluster.doctor.model import model_checks
from cluster.engine.memory import tensor_names


def examined(folder: Path | str) -> dict[str, Check]:
    return {check.name: check for check in model_checks(EngineConfig(model=str(folder)))}


@pytest.fixture
def copy(smallest_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint for the test to break."""
    return Path(shutil.copytree(smallest_checkpoint, tmp_path / "copy"))


def changed(path: Path, **keys: Any) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | keys))


def test_a_sound_model_has_no_problem(smallest_checkpoint: Path) -> None:
    for target in ("tiny", smallest_checkpoint):
        found = examined(target)
        assert {check.state for check in found.values()} == {"ok"}, found
        assert "one scalar head" in found["config"].found
        assert "1 BOS" in found["tokenizer and template"].found


def test_several_labels_end_the_look(copy: Path) -> None:
    changed(copy / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    found = examined(copy)
    assert found["config"].state == "problem"
    assert "2 labels" in found["config"].found
    assert "weights" not in found


def test_a_pad_token_that_closes_a_chat_is_found(copy: Path) -> None:
    closing = json.loads((copy / "config.json").read_text())["eos_token_id"]
    changed(copy / "config.json", pad_token_id=closing)
    found = examined(copy)["tokenizer and template"]
    assert found.state == "problem"
    assert "end-of-turn" in found.found


def test_a_missing_template_is_found(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    found = examined(copy)["tokenizer and template"]
    assert found.state == "problem"
    assert "no chat template" in found.found


def test_weights_without_a_head_are_found(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tensor_names(EngineConfig(model=str(copy)))
    assert "score.weight" in names
    rest = [name for name in names if name != "score.weight"]
    monkeypatch.setattr(model, "tensor_names", lambda _: rest)
    found = examined(copy)["weights"]
    assert found.state == "problem"
    assert "no tensor `score`" in found.found


@pytest.mark.parametrize(("free", "state"), [(2**30, "ok"), (1, "problem")])
def test_memory_is_what_the_weights_need(
    copy: Path, free: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "free_bytes", lambda _: free)
    found = examined(copy)["memory for it"]
    assert found.state == state
    assert ("--device" in found.found) == (state == "problem")


def test_a_model_of_a_hub_that_is_not_here_says_why() -> None:
    found = examined("nobody/nothing")  # tests have HF_HUB_OFFLINE
    assert list(found) == ["files"]
    assert found["files"].state == "problem"
    assert "HF_HUB_OFFLINE is set" in found["files"].found
