"""Stage folders of a loop, each written atomically.

Invariant: a stage's folder gets its name by one rename, when all its files are written; `made_from`
says what the run's stages depend on, and stages made from something else are never continued. Knows
nothing of how a stage is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.data.jsonl import to_json_line, write_rows
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.runs.checkpoints import Checkpoints
from cluster.rlhf.runs.manifest import claim


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage did. Stage 0 is the start: only its evaluation is there.

    evaluation: mean raw reward of the policy after the stage, of `n_evaluated` answers to the
        evaluation prompts.
    first, mean, kept: mean raw rewards of each prompt's first candidate, of all candidates and of
        those learnt from, all drawn from the policy before the stage (LMFlow logs first and kept).
    rejected: mean raw reward of the worse sides of pairs; None if a loop has no pairs.
    loss: of the training, mean of its steps.
    n_kept, n_unfinished, n_failed: responses (or pairs) learnt from, cut off, and not scored.
    """

    stage: int
    evaluation: float
    n_evaluated: int
    first: float | None = None
    mean: float | None = None
    kept: float | None = None
    rejected: float | None = None
    loss: float | None = None
    n_kept: int = 0
    n_unfinished: int = 0
    n_failed: int = 0


class Stages:
    """The folder of one run. Raises ConfigError if it holds a run made from something else."""

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        self._kept = Checkpoints(folder, keep=None, name="stage", digits=3)
        claim(folder, made_from)

    def path(self, number: int) -> Path:
        return self._kept.path(number)

    def read(self, number: int) -> Stage | None:
        """The finished stage, None if it is missing."""
        report = self.path(number) / "stage.json"
        return Stage(**json.loads(report.read_text())) if report.exists() else None

    def write(self, stage: Stage, policy: Policy | None, rows: Iterable[Mapping[str, Any]]) -> None:
        """stage.json, what was sampled, and the policy after the stage."""

        def save(folder: Path) -> None:
            if policy is not None:
                policy.save(folder)
                write_rows(folder / "samples.jsonl", rows)
            (folder / "stage.json").write_text(to_json_line(asdict(stage)))

        self._kept.write(stage.stage, save)
