"""Training run: from a configuration to a model, through checkpoints.

Invariant: everything in the output folder is written atomically; a killed run resumes from its last
checkpoint when its command is given again and ends with the same model. The folder: the model
itself, checkpoints/, log.jsonl, training.png, rejects.jsonl, made_from.json.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cluster.config import EngineConfig
from cluster.data.output_lock import output_lock
from cluster.data.rejects import Rejects
from cluster.engine.checkpoint import revision
from cluster.rlhf.runs.checkpoints import Checkpoints
from cluster.rlhf.runs.manifest import claim
from cluster.rlhf.runs.step_log import StepLog
from cluster.rlhf.runs.trackers import Trackers, check_installed
from cluster.rlhf.training.checkpoints import checkpoints_of, resume, write
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.dataset import PreferenceData, open_data, write_data
from cluster.rlhf.training.export import save_model
from cluster.rlhf.training.loop import new_trainer, train
from cluster.rlhf.training.metrics import ScoredPairs
from cluster.rlhf.training.model_setup import StartingModel, load_starting_model
from cluster.rlhf.training.pairs import Pair
from cluster.rlhf.training.step_metrics import draw, evaluation_row
from cluster.rlhf.training.trainer import OnStep, StepReport, Trainer, make_accelerator

Say = Callable[[str], None]
PAIRS = ".pairs"
"""Folder of the tokenized pairs, there while the run lasts."""
FREE = (
    "out",
    "device",
    "max_steps",
    "checkpoint_every",
    "keep_checkpoints",
    "log_every",
    "evaluate_every",
    "forward_tokens",
    "gradient_checkpointing",
    "report_to",
)
"""Settings that may change when a run is resumed, so that one that ran out of memory can be; how a
step is cut into forwards changes rounding only. All others decide what it makes."""


def train_reward_model(
    config: TrainConfig,
    on_step: OnStep = lambda report: None,
    say: Say = lambda line: None,
    strict: bool = False,
) -> list[ScoredPairs]:
    """Train as `config` says; both rewards of every evaluation pair.

    Raises ConfigError for files that cannot be trained on, ModelRefused for a start that cannot be
    loaded and, where `strict`, InvalidInput for the first broken row.
    """
    main = make_accelerator(config).is_main_process
    folder = Path(config.out)
    with output_lock(folder) if main else nullcontext():
        return _train(config, folder, main, on_step, say, strict)


def _train(
    config: TrainConfig, folder: Path, main: bool, on_step: OnStep, say: Say, strict: bool
) -> list[ScoredPairs]:
    check_installed(config.report_to)
    start = load_starting_model(config)
    data = _read(config, start, folder, say if main else _silent, strict)
    if main:
        claim(folder, _made_from(config, data))
    trainer = new_trainer(start.model, data.training, config)
    checkpoints = checkpoints_of(trainer, folder / "checkpoints", config.keep_checkpoints)
    report_to = config.report_to if main else ()
    with Trackers(report_to, folder, asdict(config), checkpoints.newest()) as trackers:
        log = StepLog(folder / "log.jsonl", trackers)
        one = _Run(config, start, data.evaluation, trainer, folder, checkpoints, log)
        one.go(data.training, on_step, say if main else _silent)
    trainer.accelerator.wait_for_everyone()
    if main:
        shutil.rmtree(folder / PAIRS)
    return one.judged


class _Run:
    """What happens around the steps: checkpoints, evaluations, the record."""

    def __init__(
        self,
        config: TrainConfig,
        start: StartingModel,
        evaluation: Sequence[Pair],
        trainer: Trainer,
        folder: Path,
        checkpoints: Checkpoints,
        log: StepLog,
    ) -> None:
        self.judged: list[ScoredPairs] = []
        self._config = config
        self._start = start
        self._evaluation = evaluation
        self._trainer = trainer
        self._folder = folder
        self._main = trainer.accelerator.is_main_process
        self._checkpoints = checkpoints
        self._log = log

    def go(self, pairs: Sequence[Pair], on_step: OnStep, say: Say) -> None:
        done = resume(self._trainer, self._checkpoints)
        if done:
            say(f"resumes after step {done}")
        if self._main:
            self._log.begin(done)

        def after(report: StepReport) -> None:
            if self._main:
                self._log.add(asdict(report))
                on_step(report)
            if _due(report.step, self._config.evaluate_every):
                self._evaluate(say)
            if _due(report.step, self._config.checkpoint_every):
                write(self._trainer, self._checkpoints, self._save)

        train(self._trainer, pairs, after)
        if not _due(self._trainer.step_number, self._config.evaluate_every) or not self.judged:
            self._evaluate(say)
        write_model(self._folder, self._save, self._main)
        if self._main:
            draw(self._log.rows(), self._folder / "training.png")
        say(f"wrote {self._folder}")

    def _evaluate(self, say: Say) -> None:
        self.judged = self._trainer.judge(self._evaluation)
        if self.judged and self._main:
            step = self._trainer.step_number
            self._log.add(evaluation_row(step, self.judged))
            right, total = sum(result.right for result in self.judged), len(self.judged)
            say(f"step {step}  evaluation: {right} of {total} pairs right, {right / total:.3f}")

    def _save(self, folder: Path) -> None:
        dtype = getattr(torch, self._config.dtype)
        save_trained(self._trainer, self._start.tokenizer, folder, dtype)


def save_trained(trainer: Trainer, tokenizer: Any, folder: Path, dtype: torch.dtype) -> None:
    """What `trainer` has now, to a new folder; every process calls this, one writes."""
    state = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.accelerator.is_main_process:
        module = trainer.unwrapped.module
        save_model(folder, module, tokenizer, state, dtype, trainer.config.lora)


def write_model(folder: Path, save: Callable[[Path], None], main: bool = True) -> None:
    """Into `folder`, each file replaced whole, the weights last. Only `main` ones write."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".model.") as scratch:
        save(Path(scratch))
        if not main:
            return
        for path in sorted(Path(scratch).iterdir(), key=lambda p: p.suffix == ".safetensors"):
            path.chmod(0o644)
            os.replace(path, folder / path.name)


def _read(
    config: TrainConfig, start: StartingModel, folder: Path, say: Say, strict: bool
) -> PreferenceData:
    """The run's pairs: tokenized by the main process, mapped by all."""
    accelerator = make_accelerator(config)
    if accelerator.is_main_process:
        rejects = Rejects(folder / "rejects.jsonl", strict)
        shutil.rmtree(folder / PAIRS, ignore_errors=True)  # of a run that was killed
        try:
            with rejects:
                write_data(config, start.encoder, rejects, folder / PAIRS)
        finally:
            for line in rejects.lines():
                say(line)
    accelerator.wait_for_everyone()
    data = open_data(config, folder / PAIRS)
    say(f"{len(data.training)} pairs to train on, {len(data.evaluation)} to evaluate on")
    if cut := data.training.n_truncated:
        say(f"{cut} of the pairs to train on are cut to {start.encoder.max_tokens} tokens")
    return data


def _made_from(config: TrainConfig, data: PreferenceData) -> dict[str, Any]:
    settings = {key: value for key, value in asdict(config).items() if key not in FREE}
    start = revision(EngineConfig(model=config.model, revision=config.revision), None)
    return {**settings, "start": start, "pairs": data.digest}


def _due(step: int, every: int | None) -> bool:
    return bool(every) and step % (every or 1) == 0


def _silent(_: str) -> None:
    pass
