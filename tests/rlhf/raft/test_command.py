"""`reward-cluster raft` as a process: a kill costs the stage that was under way, no more."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.dying import killed_in

import cluster
from cluster.cli import main
from cluster.errors import InvalidInput
from cluster.rlhf.iteration.launch import LoopReport
from cluster.rlhf.policy.config import Sampling
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.raft.config import RaftConfig, RaftRun


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


def small_run(tmp_path: Path, policy: Path) -> RaftRun:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join([json.dumps({"prompt": f"Say {i}."}) for i in range(6)] + ["{"]))
    loop = RaftConfig(stages=1, prompts=3, sampling=Sampling(n=2, max_new_tokens=60))
    return RaftRun(
        out=str(tmp_path / "run"),
        policy=str(policy),
        prompts=str(prompts),
        evaluation_prompts=2,
        control=False,
        raft=loop,
    )


@pytest.mark.slow
def test_a_call_from_python_makes_a_run_per_seed(tmp_path: Path, small_policy: Path) -> None:
    config = small_run(tmp_path, small_policy)
    heard: list[tuple[str, int]] = []
    finished: list[LoopReport] = []
    reports = cluster.train_raft(
        config,
        seeds=(3, 4),
        on_stage=lambda loop, stage: heard.append((loop, stage.stage)),
        on_run=finished.append,
    )
    assert heard == [("raft", 0), ("raft", 1)] * 2
    assert finished == reports
    assert [report.folder for report in reports] == [tmp_path / f"run/seed-{n}" for n in (3, 4)]
    for report in reports:
        assert (report.policy / "model.safetensors").exists()
        assert report.n_broken == 1
        assert "line 7" in report.broken[0]
    assert (tmp_path / "run/raft.png").exists()


@pytest.mark.slow
def test_a_strict_call_ends_at_the_first_broken_row(tmp_path: Path, small_policy: Path) -> None:
    with pytest.raises(InvalidInput, match="line 7"):
        cluster.train_raft(small_run(tmp_path, small_policy), strict=True)


def test_a_flag_is_refused_by_its_key(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    done = CliRunner().invoke(main, ["raft", "--out", out, "--raft.sft.batch", "0"])
    assert done.exit_code == 2
    assert "raft.sft.batch: " in done.output
    assert not (tmp_path / "out").exists()


def test_a_reward_model_beside_a_service_is_refused() -> None:
    done = CliRunner().invoke(main, ["raft", "--app", "reward", "--reward.model", "tiny"])
    assert done.exit_code == 2
    assert "leave out reward" in done.output


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    config = tmp_path / "raft.yaml"
    config.write_text("stage: 3\n")
    result = CliRunner().invoke(main, ["raft", str(config)])
    assert result.exit_code == 2
    assert "stage" in result.output
    assert "known keys" in result.output
