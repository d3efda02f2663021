"""PPO step metrics, and plots of one run or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.rlhf.runs import plotting
from cluster.rlhf.runs.step_log import StepLog


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step. reward: mean raw reward of its responses, before the update.

    transformed_reward: the mean after `ppo.transforms`. failed: responses whose score is an error,
    failures: how many by the error's code. unfinished: responses cut off. tokens: of responses.
    Seconds: generating_s until the last response, waiting_s from then until the last reward,
    learning_s of the update. The rest: see `learner.Update`.
    """

    step: int
    reward: float
    reward_std: float
    transformed_reward: float
    kl: float
    kl_coef: float
    policy_loss: float
    value_loss: float
    clip_fraction: float
    explained_variance: float
    reward_clip_fraction: float
    responses: int
    failed: int
    failures: dict[str, int] = field(default_factory=dict)
    unfinished: int
    tokens: int
    generating_s: float
    waiting_s: float
    learning_s: float
    step_s: float


def read_rows(path: Path) -> list[StepRow]:
    """The rows of the log at `path`."""
    return [StepRow(**row) for row in StepLog(path).rows()]


def waiting_share(rows: Sequence[StepRow]) -> float:
    """Time waiting for rewards as a share of the steps'."""
    return sum(row.waiting_s for row in rows) / sum(row.step_s for row in rows)


def draw(runs: Mapping[str, Sequence[StepRow]], path: Path) -> None:
    """Reward, KL and unfinished responses by step: one line per run, and their mean if there are
    several."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    titles = {
        "reward": "mean raw reward",
        "kl": "KL from the start, nats a response",
        "unfinished": "responses cut off, %",
    }
    for axes, (name, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        curves = {label: [_value(row, name) for row in rows] for label, rows in runs.items()}
        for label, curve in curves.items():
            axes.plot(range(1, len(curve) + 1), curve, lw=1, alpha=0.7, label=label)
        if len(curves) > 1:
            mean = [sum(column) / len(column) for column in zip(*curves.values(), strict=False)]
            axes.plot(range(1, len(mean) + 1), mean, color="black", lw=2, label="mean")
            axes.legend()
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
    plotting.save(figure, path)


def _value(row: StepRow, name: str) -> float:
    value: Any = getattr(row, name)
    return 100.0 * value / row.responses if name == "unfinished" else float(value)
