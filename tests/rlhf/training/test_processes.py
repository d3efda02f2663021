"""Training by two real processes: the same steps as by one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.preferences import write_pairs


def trained(config: Path, *launch: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *launch, "cluster", "train", str(config)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path, smallest_checkpoint: Path) -> None:
    settings = {
        "model": str(smallest_checkpoint),
        "train": write_pairs(tmp_path / "train.jsonl", "train", 2),
        "evaluation_share": 0.1,
        "device": "cpu",
        "mixed_precision": "no",
        "dtype": "float32",
        "pairs_per_step": 7,  # does not divide by two, and leaves a short last step
        "forward_tokens": 300,
        "lr": 1e-3,
        "evaluate_every": 5,
    }
    two = (
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--main_process_port",
        "0",
    )
    logs = []
    for name, launch in (("one", ()), ("two", (*two, "--module"))):
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump(settings | {"out": str(tmp_path / name)}))
        trained(config, *launch)
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        logs.append([json.loads(line) for line in log])
    assert len(logs[0]) == len(logs[1]) > 10
    for one, other in zip(*logs, strict=True):
        if "evaluation" in one:
            assert one["evaluation"]["accuracy"] == other["evaluation"]["accuracy"]
            continue
        for key in ("loss", "margin", "grad_norm", "lr"):
            assert one[key] == pytest.approx(other[key], rel=1e-3, abs=1e-5), (key, one["step"])
