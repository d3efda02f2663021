"""Training step metrics: rows of steps and evaluations, and a plot of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cluster.rlhf.runs import plotting
from cluster.rlhf.training.loss import bradley_terry_loss
from cluster.rlhf.training.metrics import ScoredPairs, accuracy, accuracy_by_kind, margin


def evaluation_row(step: int, judged: Sequence[ScoredPairs]) -> dict[str, Any]:
    """A log row of held-out pairs; their loss is Bradley-Terry's alone."""
    chosen_N, rejected_N = torch.tensor([[j.chosen, j.rejected] for j in judged]).T
    found = {
        "pairs": len(judged),
        "loss": bradley_terry_loss(chosen_N, rejected_N).item(),
        "accuracy": accuracy(judged),
        "margin": margin(judged),
        "by_kind": accuracy_by_kind(judged),
    }
    return {"step": step, "evaluation": found}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss, accuracy and margin by step; evaluations as dots."""
    from matplotlib.figure import Figure

    steps = [row for row in rows if "evaluation" not in row]
    held_out = [row for row in rows if "evaluation" in row]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), ("loss", "accuracy", "margin"), strict=True):
        axes.plot([r["step"] for r in steps], [r[name] for r in steps], lw=1, label="training")
        if held_out:
            values = [r["evaluation"][name] for r in held_out]
            axes.plot([r["step"] for r in held_out], values, "o-", label="never trained on")
        axes.set(title=name, xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend()
    plotting.save(figure, path)
