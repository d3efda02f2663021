"""Annotation summary: one line of reward statistics, and a histogram.

Source: the line that RLHFlow/Online-RLHF's annotate_data/get_rewards.py prints. It takes the mean
over a rectangle of rewards; here rows may differ in length, so the mean is over all responses.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

from cluster.rlhf.runs import plotting


class RewardSummary:
    """Collects the rewards of rows: 8 bytes per response, and 8 per row."""

    def __init__(self) -> None:
        self._rewards = array("d")
        self._top1 = array("d")

    def add(self, rewards: Sequence[float]) -> None:
        """The rewards of one row, at least one."""
        self._rewards.extend(rewards)
        self._top1.append(max(rewards))

    def line(self, n_rows: int) -> str:
        """As published; `n_rows` counts the input's rows, annotated or not."""
        collected = f"Collect {len(self._top1)} data from {n_rows} inputs."
        if not self._top1:
            return collected
        mean = sum(self._rewards) / len(self._rewards)
        top1 = sum(self._top1) / len(self._top1)
        return f"{collected} mean score {mean} top1 score: {top1}"

    def draw(self, path: Path) -> None:
        """A histogram of all rewards and of each row's best, as a picture at `path`."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for values, label in ((self._rewards, "all responses"), (self._top1, "best of each row")):
            bars = axes.hist(values, 60, label=label, alpha=0.6, density=True)[2]
            colour = bars[0].get_facecolor()  # type: ignore[union-attr, index]
            axes.axvline(sum(values) / len(values), color=colour, linestyle="--")
        axes.set(xlabel="raw reward (dashed: mean)", ylabel="density")
        axes.legend()
        plotting.save(figure, path)
