"""`reward-cluster raft` as a process: a kill costs the stage that was under way, no more."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.dying import killed_in

from cluster.cli import main
from cluster.rlhf.policy.model import Policy


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
    return ["raft", str(config)]


@pytest.mark.slow
def test_a_run_killed_while_it_writes_a_stage_ends_with_the_files_of_a_whole_one(
    tmp_path: Path, small_policy: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [json.dumps({"prompt": f"Say {i}."}) for i in range(12)]
    prompts.write_text("\n".join([*rows, "{broken"]))
    whole = CliRunner().invoke(main, command(tmp_path, "whole", small_policy, prompts))
    assert whole.exit_code == 1, whole.output  # a broken row
    assert "line 13" in whole.output
    broken = command(tmp_path, "broken", small_policy, prompts)
    killed_in(Policy.save, 2, broken)
    assert (tmp_path / "broken/raft/stage-001").exists()
    assert not (tmp_path / "broken/raft/stage-002").exists()
    assert CliRunner().invoke(main, broken).exit_code == 1
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
