"""Iterative DPO with a scorer of the test's: what it pairs, learns, resumes, and its control."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster.cli import main
from cluster.config import TransformConfig
from cluster.data.reader import read_rows
from cluster.errors import ConfigError, RewardError
from cluster.rlhf.dpo.config import DpoConfig, DpoLossConfig
from cluster.rlhf.dpo.loop import preferences
from cluster.rlhf.iteration.loop import Loop
from cluster.rlhf.policy.config import Sampling
from cluster.rlhf.policy.model import Policy
from cluster.types import Score

pytestmark = pytest.mark.slow
CONFIG = DpoConfig(
    stages=2,
    prompts=5,
    sampling=Sampling(n=4, max_new_tokens=60),
    dpo=DpoLossConfig(lr=1e-3, epochs=1, batch=4),
)
PROMPTS: list[Any] = [[{"role": "user", "content": f"Say {i}."}] for i in range(9)]
EVALUATION: list[Any] = [[{"role": "user", "content": f"Count to {i}."}] for i in range(3)]


def shorter_is_better(conversations: Sequence[Any]) -> list[Score | RewardError]:
    return [
        Score(-float(len(text)), 1, 1, False, 0.0, 0.0, "test", "1", "invariant")
        for _, text in conversations
    ]


def loop(folder: Path, policy: Path, config: DpoConfig = CONFIG) -> Loop:
    learn = preferences(config)
    return Loop(
        config, learn, folder, str(policy), PROMPTS, EVALUATION, shorter_is_better, {"m": 1}
    )


def weights(policy: Policy) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in policy.module.parameters())


def test_a_broken_run_ends_with_the_policy_of_a_whole_one_that_learnt(
    tmp_path: Path, small_policy: Path
) -> None:
    whole = loop(tmp_path / "whole", small_policy)
    stages = whole.run()
    for stage in stages[1:]:
        assert stage.kept is not None
        assert stage.rejected is not None
        assert stage.kept > stage.rejected
        assert 0 < stage.n_kept <= 5
    first = loop(tmp_path / "broken", small_policy, replace(CONFIG, stages=1))
    first.run()
    again = loop(tmp_path / "broken", small_policy)
    assert again.run() == stages
    policies = [weights(run.policy_after(2)) for run in (whole, again)]
    assert policies[0] == policies[1] != weights(whole.policy_after(0))


def test_the_control_learns_from_the_same_pairs_drawn_blindly(
    tmp_path: Path, small_policy: Path
) -> None:
    one = replace(CONFIG, stages=1, prompts=9)
    best = loop(tmp_path / "dpo", small_policy, one).run()[1]
    blind = loop(tmp_path / "control", small_policy, replace(one, random=True)).run()[1]
    assert blind.n_kept == best.n_kept
    for stage in (best, blind):
        assert stage.kept is not None
        assert stage.rejected is not None
    assert blind.kept + blind.rejected == pytest.approx(best.kept + best.rejected)  # type: ignore[operator]
    assert blind.kept < best.kept  # type: ignore[operator]


def test_the_reference_may_be_the_policy_before_the_stage(
    tmp_path: Path, small_policy: Path
) -> None:
    found = []
    for reference in ("start", "previous"):
        config = replace(CONFIG, reference=reference)
        one = loop(tmp_path / reference, small_policy, config)
        one.run()
        found.append([weights(one.policy_after(stage)) for stage in (1, 2)])
    assert found[0][0] == found[1][0]  # the first stage's is the start either way
    assert found[0][1] != found[1][1]


def test_transformed_rewards_choose_and_stand_beside_the_raw_ones(
    tmp_path: Path, small_policy: Path
) -> None:
    flat = (TransformConfig("clip", {"low": 0.0, "high": 1.0}),)  # all rewards here become 0
    with pytest.raises(ConfigError, match="worth learning from"):
        loop(tmp_path / "flat", small_policy, replace(CONFIG, transforms=flat)).run()
    half = (TransformConfig("affine", {"mean": 0.0, "std": 2.0}),)
    loop(tmp_path / "half", small_policy, replace(CONFIG, stages=1, transforms=half)).run()
    for row in read_rows(tmp_path / "half/stage-001/samples.jsonl"):
        values = row.value  # type: ignore[union-attr]
        assert values["transformed_rewards"] == [reward / 2 for reward in values["rewards"]]
        assert values["transforms"][0]["name"] == "affine"


def test_the_command_makes_a_run_per_seed_and_one_picture(
    tmp_path: Path, small_policy: Path
) -> None:
    pytest.importorskip("tensorboard")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Say {i}."}) + "\n" for i in range(9)))
    config = tmp_path / "dpo.yaml"
    values = {
        "out": str(tmp_path / "out"),
        "policy": str(small_policy),
        "prompts": str(prompts),
        "evaluation_prompts": 3,
        "report_to": ["tensorboard"],
        "dpo": {
            "stages": 1,
            "prompts": 4,
            "sampling": {"n": 4, "max_new_tokens": 60},
            "dpo": {"lr": 1e-3, "epochs": 1},
        },
    }
    config.write_text(json.dumps(values))
    done = CliRunner().invoke(main, ["dpo", str(config), "--seed", "0", "--seed", "1"])
    assert done.exit_code == 0, done.output
    assert "control stage 1" in done.output
    for seed in (0, 1):
        folder = tmp_path / f"out/seed-{seed}"
        curve = json.loads((folder / "curve.json").read_text())
        assert [stage["stage"] for stage in curve["dpo"]] == [0, 1]
        assert len((folder / "log.jsonl").read_text().splitlines()) == 2
        assert list((folder / "tensorboard").glob("events.*"))
    assert (tmp_path / "out/dpo.png").read_bytes().startswith(b"\x89PNG")
