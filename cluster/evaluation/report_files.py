"""Files of an evaluation report: report.json and report.png."""

from __future__ import annotations

from pathlib import Path

from cluster.data.jsonl import write_json
from cluster.evaluation import plot, report
from cluster.evaluation.run import Evaluation


def save(done: Evaluation, folder: Path) -> None:
    """Write both into `folder`, each whole or not at all."""
    plot.draw(done, folder / "report.png")
    write_json(folder / "report.json", report.as_json(done))
