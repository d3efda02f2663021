"""Training by two real processes: the same steps as by one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from support.preferences import write_pairs

from cluster.cli import main


def train_by_two(config: Path) -> None:
    launch = ("accelerate.commands.launch", "--cpu", "--num_processes", "2")
    command = (*launch, "--main_process_port", "0", "--module", "cluster", "train", str(config))
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def train_by_one(config: Path) -> None:
    done = CliRunner().invoke(main, ["train", str(config)])
    assert done.exit_code == 0, done.output


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
    logs = []
    for name, train in (("one", train_by_one), ("two", train_by_two)):
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump(settings | {"out": str(tmp_path / name)}))
        train(config)
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        logs.append([json.loads(line) for line in log])
    assert len(logs[0]) == len(logs[1]) > 10
    for one, other in zip(*logs, strict=True):
        if "evaluation" in one:
            assert one["evaluation"]["accuracy"] == other["evaluation"]["accuracy"]
            continue
        for key in ("loss", "margin", "grad_norm", "lr"):
            assert one[key] == pytest.approx(other[key], rel=1e-3, abs=1e-5), (key, one["step"])
