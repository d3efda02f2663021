"""What a PPO run measured: a line a step in log.jsonl, and pictures of one run or several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.files import atomic_writer, to_json_line
from cluster.rlhf import figures


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step. reward: mean raw reward of its responses, before the update.

    failed: responses whose score is an error; tokens: of responses. Seconds: generating_s until
    the last response, waiting_s from then until the last reward, learning_s of the update.
    The rest: see `learner.Update`.
    """

    step: int
    reward: float
    reward_std: float
    kl: float
    kl_weight: float
    policy_loss: float
    value_loss: float
    clipped: float
    explained: float
    responses: int
    failed: int
    unfinished: int
    tokens: int
    generating_s: float
    waiting_s: float
    learning_s: float
    step_s: float


@dataclass(frozen=True, slots=True)
class StepLog:
    """log.jsonl at `path`."""

    path: Path

    def begin(self, step: int) -> None:
        """Keep the lines up to `step`; a broken run's later ones are done again."""
        kept = [row for row in self.rows() if row.step <= step]
        with atomic_writer(self.path) as out:
            out.writelines(to_json_line(asdict(row)) for row in kept)

    def add(self, row: StepRow) -> None:
        with self.path.open("a") as out:
            out.write(to_json_line(asdict(row)))

    def rows(self) -> list[StepRow]:
        """All lines; the last one is left out where a killed run wrote half of it."""
        if not self.path.exists():
            return []
        whole = self.path.read_text().rpartition("\n")[0]
        return [StepRow(**json.loads(line)) for line in whole.splitlines()]

    def draw(self, path: Path) -> None:
        draw({"": self.rows()}, path)


def waiting_share(rows: Sequence[StepRow]) -> float:
    """Time waiting for rewards as a share of the steps'."""
    return sum(row.waiting_s for row in rows) / sum(row.step_s for row in rows)


def draw(runs: Mapping[str, Sequence[StepRow]], path: Path) -> None:
    """Reward, KL and unfinished responses by step, a line a run, and their mean where several."""
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
    figures.save(figure, path)


def _value(row: StepRow, name: str) -> float:
    value: Any = getattr(row, name)
    return 100.0 * value / row.responses if name == "unfinished" else float(value)
