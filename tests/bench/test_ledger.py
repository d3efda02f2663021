"""The soak's ledger sees every kind of loss and of wrong number."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster.bench.chaos.ledger import Ask, Ledger, Serving
from cluster.bench.chaos.processes import GROWTH_MIB, JUDGED_FROM, Memory, program
from cluster.errors import InvalidInput, NotReady, RewardError
from cluster.types import Score

TRUTH = {"app": {"r1": [1.0, 2.0], "r2": [10.0, 20.0]}}
R1, R2, R1_AGAIN = Serving(1, "r1"), Serving(2, "r2"), Serving(3, "r1")


def score(reward: float, revision: str = "r1") -> Score:
    return Score(reward, 3, 1, False, 0.0, 0.0, "m", revision, "invariant")


def violations(
    answers: Sequence[Score | RewardError],
    before: Serving | None = R1,
    after: Serving | None = R1,
    must_fail: Sequence[int] = (),
) -> int:
    ledger, ask = Ledger(TRUTH), Ask("score", "app", (0, 1), before, must_fail)
    ledger.asked(ask)
    ledger.answered(ask, answers, after)
    ledger.close()
    return ledger.n_violations


def test_right_rewards_and_errors_that_are_due_are_none() -> None:
    assert violations([score(1.0), score(2.0)]) == 0
    assert violations([score(1.0), InvalidInput("bad")], must_fail=[1]) == 0
    assert violations([score(10.0, "r2"), score(20.0, "r2")], R1, R2) == 0, "rolled meanwhile"
    assert violations([score(10.0, "r2"), score(20.0, "r2")], R1, R1_AGAIN) == 0, "rolled twice"
    assert violations([score(10.0, "r2"), score(2.0)], None, None) == 0, "rolling"


@pytest.mark.parametrize(
    "answers",
    [
        [score(1.0)],
        [score(1.0), score(2.0), score(2.0)],
        [score(1.0), score(2.0000001)],
        [score(1.0), score(20.0)],
        [score(1.0), score(20.0, "r2")],
        [score(1.0), score(2.0, "r9")],
        [score(1.0), NotReady("lost")],
    ],
    ids=["missing", "too many", "a bit off", "other weights'", "old", "unknown", "error"],
)
def test_everything_else_is_a_violation(answers: list[Score | RewardError]) -> None:
    assert violations(answers) == 1


def test_an_error_that_does_not_come_is_a_violation() -> None:
    assert violations([score(1.0), score(2.0)], must_fail=[1]) == 1


def test_a_call_that_never_ends_is_a_violation() -> None:
    ledger = Ledger(TRUTH)
    ledger.asked(Ask("score", "app", (0, 1)))
    ledger.close()
    assert ledger.n_violations == 1
    assert "never answered" in ledger.violations[0]


def test_who_leaves_early_is_owed_nothing_and_must_not_get_wrong_numbers() -> None:
    ledger = Ledger(TRUTH)
    first, second = Ask("leave", "app", (0, 1)), Ask("leave", "app", (0, 1))
    for ask in (first, second):
        ledger.asked(ask)
    ledger.abandoned(first, {1: score(2.0)})
    assert (ledger.n_violations, ledger.rows["app: leave"].asked) == (0, 3)
    ledger.abandoned(second, {1: score(3.0)})
    assert ledger.n_violations == 1


def test_memory_that_keeps_growing_is_told_and_warm_up_is_not() -> None:
    memory = Memory(["app"])
    step = 3 * GROWTH_MIB / JUDGED_FROM
    memory.looks["leaks"] = [100 + 2 * step * i for i in range(JUDGED_FROM)]
    memory.looks["warms up"] = [100 + min(i, JUDGED_FROM // 3) * 9 for i in range(JUDGED_FROM)]
    memory.looks["short"] = memory.looks["leaks"][: JUDGED_FROM // 2]
    (told,) = memory.grown()
    assert "leaks" in told


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("/venv/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp", "gcs_server"),
        ("/venv/raylet --worker=python default_worker.py", "raylet"),
        ("/venv/bin/python3 -u /venv/ray/_private/log_monitor.py --a", "log_monitor.py"),
        ("ray::DashboardAgent", "ray::DashboardAgent"),
        ("ray::IDLE", ""),
        ("ray::SERVE_REPLICA::chaos#Replica#1:ServeReplica:chaos:Replica.__init__", ""),
        ("", ""),
    ],
)
def test_rays_own_processes_are_told_by_their_programs(title: str, name: str) -> None:
    assert program(title) == name
