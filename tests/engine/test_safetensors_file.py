"""Fingerprints of weights: equal for equal content, another where training changed a tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cluster.engine import safetensors_file
from cluster.engine.safetensors_file import SAMPLE_BYTES, fingerprint, n_values, tensors

LARGE = 16 * SAMPLE_BYTES
"""Values of a tensor much larger than all its samples."""


def saved(folder: Path, large: torch.Tensor) -> Path:
    folder.mkdir()
    path = folder / "model.safetensors"
    save_file({"small": torch.ones(3, 2), "large": large}, path, metadata={"format": "pt"})
    return path


def test_a_header_has_the_tensors_and_their_values(tmp_path: Path) -> None:
    path = saved(tmp_path / "model", torch.zeros(LARGE))
    assert {name: one["shape"] for name, one in tensors(path).items()} == {
        "small": [3, 2],
        "large": [LARGE],
    }
    assert n_values(path) == LARGE + 6


@pytest.mark.parametrize("whole", [True, False])
def test_trained_weights_have_another_fingerprint_and_copied_ones_the_same(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors_file, "WHOLE_BYTES", 2**30 if whole else 0)
    weights = torch.zeros(LARGE)
    paths = [saved(tmp_path / name, weights) for name in ("model", "copy")]
    weights[LARGE // 3 : 2 * LARGE // 3] = 1  # neither its beginning nor its end
    paths.append(saved(tmp_path / "trained", weights))
    first, copy, trained = (fingerprint([path]) for path in paths)
    assert first == copy != trained


def test_a_large_file_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "model", torch.zeros(LARGE))
    monkeypatch.setattr(safetensors_file, "WHOLE_BYTES", 0)
    parts = list(safetensors_file._parts(path))
    assert max(map(len, parts)) <= SAMPLE_BYTES
    assert sum(map(len, parts)) < path.stat().st_size / 4


def test_a_small_file_is_told_by_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": 1}')
    before = fingerprint([path])
    path.write_text('{"a": 2}')
    assert fingerprint([path]) != before
