"""Recipe of `tiny`: texts, tokenizer, pretraining, Bradley-Terry training, accuracy, files.

Invariant: the same recipe on the same machine writes the same bytes: everything follows from
`Recipe.seed` and the texts, and with one thread every sum has one order.
Held-out pairs come from values and dialogues that training never saw (see `preferences.groups` and
`dialogues.reading`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import torch

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.rlhf.synthetic.preferences import GradedGroup
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.metrics import ScoredPairs
from cluster.rlhf.training.model_setup import load_starting_model
from cluster.rlhf.training.pairs import Pair
from cluster.rlhf.training.run import save_trained, write_model
from cluster.rlhf.training.trainer import OnStep, StepReport, Trainer
from cluster.tiny.dialogues.reading import Dialogue, read_dialogues
from cluster.tiny.dialogues.sentences import foreign_text
from cluster.tiny.judging import encode_pairs, held_out_groups, judge_folder, summary
from cluster.tiny.model import MAX_TOKENS, untrained
from cluster.tiny.pretraining.loop import PretrainingConfig, pretrain
from cluster.tiny.schedule import cosine_share
from cluster.tiny.stage_run import run_stage
from cluster.tiny.stages import STAGES, Stage, stage_groups
from cluster.tiny.tokenizer import train_tokenizer

TEXTS = "Anthropic/hh-rlhf:test"
"""Its first rows are those of harmless-base/test.jsonl.gz."""
TOKENIZER_GROUPS = 8000
FOREIGN_TEXTS = 200
RUN_SEEDS = 1000
"""Distance of the seeds of a stage's runs."""
CHECK_GROUPS, CHECK_DIALOGUES = 20, 60
"""Held-out groups of a kind and dialogues that are judged while training, only to be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the file.

    texts: real dialogues, a file of HH-RLHF's rows.  threads: the last bits of a sum depend on how
    it is divided; matrices this small gain little from a second one.
    """

    texts: str
    seed: int = 0
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    stages: tuple[Stage, ...] = STAGES
    held_out_groups: int = 100
    """Groups of each generated kind."""
    held_out_dialogues: int = 400
    vocab_size: int = 4096
    threads: int = 1
    training: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            device="cpu",
            mixed_precision="no",
            numerics="invariant",
            evaluate_every=200,
            min_lr_ratio=0.02,
            warmup_ratio=0.05,
            betas=(0.9, 0.98),
            weight_decay=0.03,
            center_rewards_coefficient=0.001,
            max_tokens=None,
            truncate="error",
            gradient_checkpointing=False,
            checkpoint_every=None,
        )
    )

    @classmethod
    def shortened(cls, texts: str, max_steps: int | None) -> Recipe:
        """The recipe, each part ended after `max_steps` steps; None is the whole of it."""
        whole = cls(texts=texts)
        return replace(
            whole,
            training=replace(whole.training, max_steps=max_steps),
            pretraining=replace(whole.pretraining, max_steps=max_steps),
        )

    def groups(self, stage: int, dialogues: Sequence[Dialogue]) -> list[list[GradedGroup]]:
        """What each run of a stage learns from."""
        first = self.seed * len(self.stages) + stage
        wanted = self.stages[stage]
        seeds = (first + RUN_SEEDS * run for run in range(wanted.runs))
        return [stage_groups(wanted, dialogues, seed) for seed in seeds]


@dataclass(frozen=True, slots=True)
class Made:
    """What came out: the folder, and both rewards of every held-out pair."""

    folder: Path
    held_out: list[ScoredPairs]


def make(recipe: Recipe, folder: Path, on_step: OnStep, say: Callable[[str], None]) -> Made:
    """Train `tiny` and write it to `folder`, whose files are replaced once all is ready.

    Raises InvalidInput where `recipe.texts` holds too few dialogues.
    """
    dialogues = read_dialogues(recipe.texts)
    say(f"{len(dialogues.training)} replies to train on, {len(dialogues.judging)} to judge by")
    stages = [recipe.groups(index, dialogues.training) for index in range(len(recipe.stages))]
    texts = _texts(stages[0][0], dialogues.training, Random(recipe.seed))
    tokenizer = train_tokenizer(texts, recipe.vocab_size, MAX_TOKENS)
    with _threads(recipe.threads), tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch)
        _save_pretrained(recipe, tokenizer, dialogues.training, start, say)
        encoder = ChatEncoder.load(EngineConfig(model=str(start)))
        model = load_starting_model(replace(recipe.training, model=str(start))).model

        def held_out(n_each: int, n_dialogues: int) -> list[Pair]:
            wanted = held_out_groups(dialogues.judging, n_each, n_dialogues, recipe.seed)
            return encode_pairs(encoder, wanted)

        check = held_out(CHECK_GROUPS, CHECK_DIALOGUES)
        for stage, runs in zip(recipe.stages, stages, strict=True):
            config = replace(recipe.training, pairs_per_step=stage.pairs_per_step, lr=stage.lr)
            trainer = run_stage(
                model, encoder, runs, config, lambda t: _watched(t, check, on_step, say), say
            )
        write_model(folder, lambda path: save_trained(trainer, tokenizer, path, torch.bfloat16))
        say(f"wrote {folder}")
        judged = held_out(recipe.held_out_groups, recipe.held_out_dialogues)
        return Made(folder, judge_folder(folder, recipe.training, judged))


def _save_pretrained(
    recipe: Recipe,
    tokenizer: Any,
    dialogues: tuple[Dialogue, ...],
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """The model before its first preference, as transformers loads it."""
    module, config = untrained(tokenizer, recipe.seed), recipe.pretraining
    share = cosine_share(config.n_steps, config.warmup_ratio, config.min_lr_ratio)
    pretrain(module, tokenizer, dialogues, config, share, recipe.seed, say)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _watched(
    trainer: Trainer, check: list[Pair], on_step: OnStep, say: Callable[[str], None]
) -> OnStep:
    """`on_step`, and a look at the held-out pairs where one is due."""

    def after(report: StepReport) -> None:
        on_step(report)
        every = trainer.config.evaluate_every
        if every and report.step % every == 0:
            say(summary(trainer.judge(check)))

    return after


def _texts(wanted: list[GradedGroup], dialogues: Iterable[Dialogue], rng: Random) -> Iterator[str]:
    """What the tokenizer learns from."""
    for group in wanted[:TOKENIZER_GROUPS]:
        contents = (message["content"] for message in group.prompt)
        roles = (message["role"] for message in group.prompt)
        yield from chain(roles, contents, group.responses)
    for dialogue in dialogues:
        yield from (dialogue.prompt[-1]["content"], dialogue.reply)
    yield from (foreign_text(rng, "train") for _ in range(FOREIGN_TEXTS))


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
