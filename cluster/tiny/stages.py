"""The curriculum of `tiny` after its pretraining: which preferences, how many, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

from cluster.rlhf.synthetic.preferences import GradedGroup, groups
from cluster.tiny.dialogues.damage import damaged_groups
from cluster.tiny.dialogues.everyday import everyday_dialogues
from cluster.tiny.dialogues.reading import Dialogue
from cluster.tiny.dialogues.swapping import WordSwapper

ALWAYS = ("another_dialogue",)
SOMETIMES = ("insult", "shuffled", "cut", "repeated", "other_language")
EVERYDAY = (*ALWAYS, "repeated", "cut", "shuffled", "insult")
EMPTY_SHARE = 0.1
SWAPPED_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the curriculum, with a learning-rate schedule of its own.

    n_groups: how many of each kind of generated preference, the hard kinds more.
    dialogue_passes: how often each real dialogue comes, damaged otherwise each time.
    everyday_passes: the same of the everyday questions, see `dialogues.everyday`.
    recent_words: the longest prompt of a dialogue; one of these each time.
    more_strangers: further replies of other dialogues that a real one is compared with.
    runs: how often the stage is run, with other damage each time; see `stage_run`.
    """

    n_groups: Mapping[str, int]
    dialogue_passes: int
    pairs_per_step: int
    lr: float
    everyday_passes: int = 0
    recent_words: tuple[int, ...] = (110,)
    more_strangers: int = 0
    runs: int = 1


SOME_OF_EACH = {
    "addition": 500,
    "subtraction": 500,
    "multiplication": 900,
    "long_multiplication": 0,
    "letter_case": 200,
    "list_length": 250,
    "one_word": 80,
    "sentence_count": 150,
    "repeat": 80,
    "mention": 150,
    "address": 80,
    "politeness": 80,
    "on_topic": 350,
    "memory": 300,
    "fluency": 120,
}
"""Enough of each generated kind not to lose it."""
STAGES = (
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
        dialogue_passes=4,
        pairs_per_step=96,
        lr=1.5e-3,
    ),
    # Which reply belongs to which dialogue is the faintest of all signs: among the others it is
    # drowned, so it gets a stage of its own, with enough of the rest not to lose it.
    Stage(
        n_groups=SOME_OF_EACH,
        dialogue_passes=1,
        pairs_per_step=96,
        lr=8e-4,
        more_strangers=4,
    ),
    # Whole prompts, as they are judged, and what the dialogues lack.
    Stage(
        n_groups={**SOME_OF_EACH, "multiplication": 1200, "long_multiplication": 1500},
        dialogue_passes=2,
        everyday_passes=12,
        pairs_per_step=96,
        lr=1e-3,
        recent_words=(60, 250, 1000, 1000),
        more_strangers=3,
        runs=2,
    ),
)


def stage_groups(stage: Stage, dialogues: Sequence[Dialogue], seed: int) -> list[GradedGroup]:
    """A stage's groups in shuffled order; those of one real prompt stay neighbours."""
    rng = Random(seed)
    blocks = [[group] for group in groups("train", stage.n_groups, seed)]
    blocks += _of_dialogues(stage, dialogues, rng)
    blocks += _of_everyday(stage, rng)
    rng.shuffle(blocks)
    return list(chain.from_iterable(blocks))


def _of_dialogues(
    stage: Stage, dialogues: Sequence[Dialogue], rng: Random
) -> Iterator[list[GradedGroup]]:
    swapper = WordSwapper(dialogues)
    for _ in range(stage.dialogue_passes):
        for dialogue in dialogues:
            recent = dialogue.recent(_one_of(rng, stage.recent_words))
            other = rng.choice(dialogues)
            swaps = rng.random() < SWAPPED_SHARE
            if swaps:
                recent, other = swapper.swapped(rng, recent), swapper.swapped(rng, other)
            kinds = [*ALWAYS, *rng.sample(SOMETIMES, 3)]
            kinds += ["empty"] if rng.random() < EMPTY_SHARE else []
            block = damaged_groups(rng, "train", recent, [other], kinds)
            for _ in range(stage.more_strangers):
                stranger = rng.choice(dialogues)
                stranger = swapper.swapped(rng, stranger) if swaps else stranger
                block += damaged_groups(rng, "train", recent, [stranger], ALWAYS)
            yield block


def _of_everyday(stage: Stage, rng: Random) -> Iterator[list[GradedGroup]]:
    """Each question's answer beside those of others, and said over and over."""
    everyday = everyday_dialogues()
    for _ in range(stage.everyday_passes):
        for dialogue in everyday:
            others = rng.sample(everyday, 1 + stage.more_strangers)
            block = damaged_groups(rng, "train", dialogue, others[:1], EVERYDAY)
            for stranger in others[1:]:
                block += damaged_groups(rng, "train", dialogue, [stranger], ALWAYS)
            yield block


def _one_of(rng: Random, values: Sequence[int]) -> int:
    """Nothing is drawn where there is no choice."""
    return values[0] if len(values) == 1 else rng.choice(values)
