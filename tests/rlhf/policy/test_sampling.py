"""A policy samples from the distribution whose log-probabilities are trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cluster.rlhf.policy.config import Sampling
from cluster.rlhf.policy.model import Policy, Sample
from cluster.types import Chat

PROMPTS: list[Chat] = [[{"role": "user", "content": f"Say {i}."}] for i in range(4)]


def drawn(folder: Path) -> list[Sample]:
    sampling = Sampling(n=2, max_new_tokens=24)
    found = Policy.load(str(folder), "cpu").sample(PROMPTS, sampling, 7)
    return [sample for samples in found for sample in samples]


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 5.0},
        {"min_p": 0.2},
        {"typical_p": 0.2},
        {"epsilon_cutoff": 0.05},
        {"suppress_tokens": list(range(40, 120))},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_the_checkpoints_own_generation_settings_change_no_sample(
    tmp_path: Path, small_policy: Path, settings: dict[str, object]
) -> None:
    other = tmp_path / "policy"
    shutil.copytree(small_policy, other)
    file = other / "generation_config.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | settings))
    assert drawn(other) == drawn(small_policy)
