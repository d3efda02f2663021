"""Recipe of `tiny`: preferences, tokenizer, Bradley-Terry training, held-out accuracy, files.

Invariant: the same recipe on the same machine writes the same bytes: everything follows from
`Recipe.seed`, and with one thread every sum has one order.
Held-out pairs come from values that training never saw (see `preferences.groups`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random

import torch

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.engine import Engine
from cluster.rlhf.synthetic.preferences import GradedGroup, groups, of_each
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.loop import new_trainer, train
from cluster.rlhf.training.metrics import ScoredPairs, accuracy, accuracy_by_kind
from cluster.rlhf.training.model_setup import load_starting_model
from cluster.rlhf.training.pairs import Pair
from cluster.rlhf.training.run import save_trained, write_model
from cluster.rlhf.training.trainer import OnStep, StepReport, Trainer
from cluster.tiny.model import MAX_TOKENS, save_untrained
from cluster.tiny.schedule import schedule
from cluster.tiny.tokenizer import train_tokenizer
from cluster.types import Encoding, Score

TOKENIZER_GROUPS = 6000
CHECK_GROUPS = 20
"""Held-out groups of a kind that are judged while training, only to be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the curriculum, with a learning-rate schedule of its own.

    n_groups: how many of each kind of preference, the hard kinds more.
    """

    n_groups: Mapping[str, int]
    pairs_per_step: int
    lr: float


STAGES = (
    # To find a word of the prompt in the response is one circuit. Alone it forms within 200 steps,
    # among everything else it takes ten times as many.
    Stage(
        n_groups={
            "repeat": 2000,
            "mention": 1500,
            "address": 1500,
            "on_topic": 1000,
            "memory": 800,
        },
        pairs_per_step=48,
        lr=2e-3,
    ),
    Stage(
        n_groups={
            "addition": 3500,
            "subtraction": 3500,
            "multiplication": 3500,
            "letter_case": 1000,
            "list_length": 1500,
            "one_word": 600,
            "sentence_count": 1200,
            "repeat": 1000,
            "mention": 1500,
            "address": 1000,
            "politeness": 700,
            "on_topic": 2400,
            "memory": 2000,
            "fluency": 1000,
        },
        pairs_per_step=64,
        lr=1.5e-3,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the file. threads: the last bits of a sum depend on how it is divided; matrices
    this small gain little from a second one."""

    seed: int = 0
    stages: tuple[Stage, ...] = STAGES
    held_out_groups: int = 100
    """Groups of each kind."""
    vocab_size: int = 1024
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
    def shortened(cls, max_steps: int | None) -> Recipe:
        """The recipe, each stage ended after `max_steps` steps; None is the whole of it."""
        whole = cls()
        return replace(whole, training=replace(whole.training, max_steps=max_steps))


@dataclass(frozen=True, slots=True)
class Made:
    """What came out: the folder, and both rewards of every held-out pair."""

    folder: Path
    held_out: list[ScoredPairs]


def make(recipe: Recipe, folder: Path, on_step: OnStep, say: Callable[[str], None]) -> Made:
    """Train `tiny` and write it to `folder`, whose files are replaced once all is ready."""
    with _threads(recipe.threads), tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch)
        stages = [_shuffled(recipe, index) for index in range(len(recipe.stages))]
        texts = _texts(stages[-1][:TOKENIZER_GROUPS])
        tokenizer = train_tokenizer(texts, recipe.vocab_size, MAX_TOKENS)
        save_untrained(tokenizer, start, recipe.seed)
        encoder = ChatEncoder.load(EngineConfig(model=str(start)))
        model = load_starting_model(replace(recipe.training, model=str(start))).model
        check = encode_pairs(encoder, groups("held_out", of_each(CHECK_GROUPS), recipe.seed))
        for stage, data in zip(recipe.stages, stages, strict=True):
            pairs = encode_pairs(encoder, data)
            say(f"{len(data)} groups, {len(pairs)} pairs of {', '.join(stage.n_groups)}")
            config = replace(recipe.training, pairs_per_step=stage.pairs_per_step, lr=stage.lr)
            trainer = new_trainer(model, pairs, config, partial(schedule, config))
            train(trainer, pairs, _watched(trainer, check, on_step, say))
        write_model(folder, lambda path: save_trained(trainer, tokenizer, path, torch.bfloat16))
        say(f"wrote {folder}")
        held_out = encode_pairs(
            encoder, groups("held_out", of_each(recipe.held_out_groups), recipe.seed)
        )
        return Made(folder, judge_folder(folder, recipe.training, held_out))


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


def _shuffled(recipe: Recipe, index: int) -> list[GradedGroup]:
    """A stage's groups; no two stages share a seed, so none repeats another's chats."""
    stage, seed = recipe.stages[index], recipe.seed * len(recipe.stages) + index
    found = list(groups("train", stage.n_groups, seed))
    Random(seed).shuffle(found)
    return found


def encode_pairs(encoder: ChatEncoder, wanted: Iterable[GradedGroup]) -> list[Pair]:
    """Every pair of different grade of every group."""
    wanted = list(wanted)
    chats = [(group.prompt, response) for group in wanted for response in group.responses]
    encoded = iter(encoder.encode_all(chats))
    pairs: list[Pair] = []
    for group in wanted:
        sides: list[Encoding] = []
        for _ in group.responses:
            side = next(encoded)
            assert isinstance(side, Encoding), side
            sides.append(side)
        pairs += [Pair(sides[a], sides[b], kind=group.kind) for a, b in group.pairs()]
    return pairs


def judge_folder(folder: Path, config: TrainConfig, pairs: list[Pair]) -> list[ScoredPairs]:
    """The written file's rewards of `pairs`: what a user of the file will see."""
    engine = Engine.load(EngineConfig(model=str(folder), device="cpu", numerics=config.numerics))
    sides = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    rewards = [score.reward for score in engine.score(sides) if isinstance(score, Score)]
    both = zip(pairs, rewards[: len(pairs)], rewards[len(pairs) :], strict=True)
    return [ScoredPairs(*values) for values in both]


def summary(judged: list[ScoredPairs]) -> str:
    """Accuracy on held-out pairs, overall and by kind, in one line."""
    kinds = ", ".join(f"{kind} {share:.2f}" for kind, share in accuracy_by_kind(judged).items())
    return f"held out: {accuracy(judged):.3f} ({kinds})"


def _texts(wanted: Iterable[GradedGroup]) -> Iterator[str]:
    """What the tokenizer learns from."""
    for group in wanted:
        contents = (message["content"] for message in group.prompt)
        roles = (message["role"] for message in group.prompt)
        yield from chain(roles, contents, group.responses)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
