"""RAFT plot: the curve of a run beside its random control."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cluster.rlhf.raft.stages import RaftStage
from cluster.rlhf.runs import plotting


def draw(best: Sequence[RaftStage], control: Sequence[RaftStage], path: Path) -> None:
    """Left: evaluation rewards after each stage. Right: what the selection took of how much."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for stages, label in ((best, "RAFT"), (control, "random control")):
        if stages:
            left.plot(
                [s.stage for s in stages], [s.evaluation for s in stages], marker="o", label=label
            )
    left.set(
        title=f"on {best[0].n_evaluated} prompts never trained on",
        xlabel="stage",
        ylabel="mean raw reward",
    )
    made = [s for s in best if s.kept is not None]
    for name, label in (("kept", "kept"), ("mean", "all"), ("first", "first of each prompt")):
        right.plot(
            [s.stage for s in made], [getattr(s, name) for s in made], marker="o", label=label
        )
    right.set(title="RAFT: responses drawn in each stage", xlabel="stage")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    plotting.save(figure, path)
