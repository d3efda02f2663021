"""The RAFT loop with a scorer of the test's: what it keeps, learns, and goes on from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.data.reader import read_rows
from cluster.errors import ConfigError, NotReady, RewardError, TooLong
from cluster.rlhf.iteration.loop import Loop
from cluster.rlhf.policy.config import Sampling, SftConfig
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.raft.config import RaftConfig
from cluster.rlhf.raft.loop import best_of_n
from cluster.types import Score

CONFIG = RaftConfig(
    stages=2,
    prompts=5,
    sampling=Sampling(n=4, max_new_tokens=60),
    sft=SftConfig(lr=1e-2, epochs=1, batch=4),
)
PROMPTS: list[Any] = [[{"role": "user", "content": f"Say {i}."}] for i in range(9)]
EVALUATION: list[Any] = [[{"role": "user", "content": f"Count to {i}."}] for i in range(3)]


def shorter_is_better(conversations: Sequence[Any]) -> list[Score | RewardError]:
    return [score(-float(len(text))) for _, text in conversations]


def score(reward: float) -> Score:
    return Score(reward, 1, 1, False, 0.0, 0.0, "test", "1", "invariant")


def raft(folder: Path, policy: Path, config: RaftConfig = CONFIG, scorer: Any = None) -> Loop:
    learn, score = best_of_n(config), scorer or shorter_is_better
    return Loop(config, learn, folder, str(policy), PROMPTS, EVALUATION, score, {"m": 1})


def weights(policy: Policy) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in policy.module.parameters())


def test_a_stage_keeps_the_best_of_each_prompt(tmp_path: Path, small_policy: Path) -> None:
    one = raft(tmp_path / "raft", small_policy)
    stages = one.run()
    assert [stage.stage for stage in stages] == [0, 1, 2]
    for stage in stages[1:]:
        assert stage.kept is not None
        assert stage.mean is not None
        assert stage.kept >= stage.mean
        assert stage.n_kept <= 5
    assert weights(one.policy_after(2)) != weights(one.policy_after(0))


def test_samples_stand_beside_the_policy_they_taught(tmp_path: Path, small_policy: Path) -> None:
    raft(tmp_path / "raft", small_policy).run()
    rows = [row.value for row in read_rows(tmp_path / "raft/stage-001/samples.jsonl")]  # type: ignore[union-attr]
    assert len(rows) == 5
    for row in rows:
        assert row["rewards"] == [-float(len(text)) for text in row["responses"]]


def test_a_broken_run_ends_with_the_policy_of_a_whole_one(
    tmp_path: Path, small_policy: Path
) -> None:
    whole = raft(tmp_path / "whole", small_policy)
    whole.run()
    first = raft(tmp_path / "broken", small_policy, replace(CONFIG, stages=1))
    first.run()
    heard: list[int] = []
    again = raft(tmp_path / "broken", small_policy)
    assert again.run(lambda stage: heard.append(stage.stage)) == whole.run()
    assert heard == [0, 1, 2]
    assert weights(again.policy_after(2)) == weights(whole.policy_after(2))


def test_other_settings_do_not_go_on_with_a_run(tmp_path: Path, small_policy: Path) -> None:
    raft(tmp_path / "raft", small_policy, replace(CONFIG, stages=1)).run()
    with pytest.raises(ConfigError, match="another top_k"):
        raft(tmp_path / "raft", small_policy, replace(CONFIG, top_k=2))


def test_the_control_keeps_blindly(tmp_path: Path, small_policy: Path) -> None:
    best = raft(tmp_path / "raft", small_policy).run()
    blind = raft(tmp_path / "control", small_policy, replace(CONFIG, random=True)).run()
    assert blind[1].mean == best[1].mean
    assert blind[1].kept is not None
    assert best[1].kept is not None
    assert blind[1].kept < best[1].kept


def test_what_cannot_be_scored_is_no_candidate(tmp_path: Path, small_policy: Path) -> None:
    def picky(conversations: Sequence[Any]) -> list[Score | RewardError]:
        found = shorter_is_better(conversations)
        return [TooLong("no") if i % 2 else r for i, r in enumerate(found)]

    stages = raft(tmp_path / "raft", small_policy, scorer=picky).run()
    assert stages[1].n_failed > 0
    rows = [row.value for row in read_rows(tmp_path / "raft/stage-001/samples.jsonl")]  # type: ignore[union-attr]
    n_scored = sum(len(row["rewards"]) for row in rows)
    assert n_scored + stages[1].n_failed + stages[1].n_unfinished == 20


def test_what_may_pass_ends_the_run_instead(tmp_path: Path, small_policy: Path) -> None:
    def absent(conversations: Sequence[Any]) -> list[Score | RewardError]:
        return [NotReady("no replica yet") for _ in conversations]

    with pytest.raises(NotReady):
        raft(tmp_path / "raft", small_policy, scorer=absent).run()
    assert not list((tmp_path / "raft").glob("stage-*"))


def test_a_policy_that_never_ends_is_told_so(tmp_path: Path, small_policy: Path) -> None:
    short = replace(CONFIG, sampling=Sampling(n=2, max_new_tokens=1))
    with pytest.raises(ConfigError, match="max_new_tokens"):
        raft(tmp_path / "raft", small_policy, short).run()
