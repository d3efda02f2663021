"""`reward-cluster raft` as a process: a kill costs the stage that was under way, no more."""

import json
import subprocess
import sys
import time
from pathlib import Path

from click.testing import CliRunner

from cluster.cli import main


def command(tmp_path: Path, name: str, policy: Path, prompts: Path) -> list[str]:
    config = tmp_path / f"{name}.yaml"
    values = {
        "out": str(tmp_path / name),
        "policy": str(policy),
        "prompts": str(prompts),
        "evaluation_prompts": 3,
        "raft": {
            "stages": 3,
            "prompts": 4,
            "sampling": {"n": 4, "max_new_tokens": 60},
            "sft": {"lr": 0.01},
        },
    }
    config.write_text(json.dumps(values))
    return [sys.executable, "-m", "cluster", "raft", str(config)]


def test_a_killed_run_ends_with_the_files_of_a_whole_one(
    tmp_path: Path, small_policy: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [json.dumps({"prompt": f"Say {i}."}) for i in range(12)]
    prompts.write_text("\n".join([*rows, "{broken"]))
    whole = subprocess.run(
        command(tmp_path, "whole", small_policy, prompts), capture_output=True, text=True
    )
    assert whole.returncode == 1, whole.stderr  # a broken row
    assert "line 13" in whole.stderr
    broken = command(tmp_path, "broken", small_policy, prompts)
    process = subprocess.Popen(broken, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (tmp_path / "broken/raft/stage-001").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert subprocess.run(broken, capture_output=True).returncode == 1
    for name in (
        "raft/stage-003/model.safetensors",
        "raft/stage-003/samples.jsonl",
        "control/stage-003/model.safetensors",
        "curve.json",
        "rejects.jsonl",
    ):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    assert (tmp_path / "whole/raft.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    config = tmp_path / "raft.yaml"
    config.write_text("stage: 3\n")
    result = CliRunner().invoke(main, ["raft", str(config)])
    assert result.exit_code == 2
    assert "stage" in result.output
    assert "known keys" in result.output
