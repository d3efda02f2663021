"""What a training run measured: a line a step, in log.jsonl, and a picture of it.

Invariant: the lines are those of the steps that were kept; what a broken run did after its last
checkpoint is taken out, because it is done again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.files import atomic_writer, to_json_line
from cluster.rlhf import figures
from cluster.rlhf.training.judging import Judged, accuracy, accuracy_by_kind, margin
from cluster.rlhf.training.trainer import StepReport


@dataclass(frozen=True, slots=True)
class Record:
    """log.jsonl at `path`: steps, and rows with `evaluation` between them."""

    path: Path

    def begin(self, step: int) -> None:
        """Keep what happened up to `step`."""
        kept = [row for row in self.rows() if row["step"] <= step]
        with atomic_writer(self.path) as out:
            out.writelines(map(to_json_line, kept))

    def step(self, report: StepReport) -> None:
        self._add(asdict(report))

    def evaluation(self, step: int, judged: Sequence[Judged]) -> None:
        found = {
            "pairs": len(judged),
            "accuracy": accuracy(judged),
            "margin": margin(judged),
            "by_kind": accuracy_by_kind(judged),
        }
        self._add({"step": step, "evaluation": found})

    def rows(self) -> list[dict[str, Any]]:
        """All lines; the last one is left out where a killed run wrote half of it."""
        if not self.path.exists():
            return []
        whole = self.path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def draw(self, path: Path) -> None:
        """Loss, accuracy and margin by step; evaluations as dots."""
        from matplotlib.figure import Figure

        steps = [row for row in self.rows() if "evaluation" not in row]
        held_out = [row for row in self.rows() if "evaluation" in row]
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        for axes, name in zip(figure.subplots(1, 3), ("loss", "accuracy", "margin"), strict=True):
            axes.plot([r["step"] for r in steps], [r[name] for r in steps], lw=1, label="training")
            if held_out and name != "loss":
                values = [r["evaluation"][name] for r in held_out]
                axes.plot([r["step"] for r in held_out], values, "o-", label="never trained on")
            axes.set(title=name, xlabel="step")
            axes.grid(alpha=0.3)
            axes.legend()
        figures.save(figure, path)

    def _add(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as out:
            out.write(to_json_line(row))
